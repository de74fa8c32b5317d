# docker build -t mari-onnx .
# docker run --rm -v "$PWD:/work" mari-onnx optimize model.onnx fast.onnx -u 'user_*'
FROM python:3.12-slim

COPY pyproject.toml README.md LICENSE constraints.txt /src/
COPY mari_onnx /src/mari_onnx
RUN pip install --no-cache-dir --constraint /src/constraints.txt /src && rm -rf /src

# A service that builds models needs no root, and what it writes belongs to the user who is named with --user.
USER nobody
WORKDIR /work
ENTRYPOINT ["mari-onnx"]
