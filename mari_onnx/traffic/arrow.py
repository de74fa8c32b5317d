"""pyarrow, with which Parquet files are read: a package that not everybody needs."""

from mari_onnx.errors import UserError

try:
    import pyarrow as pa
    from pyarrow import compute, dataset, fs, parquet, types
except ImportError as missing:
    raise UserError("recorded requests need pyarrow to be read", "pip install 'mari-onnx[traffic]'") from missing

__all__ = ["compute", "dataset", "fs", "pa", "parquet", "types"]

pa.set_cpu_count(1)  # work is divided among processes
pa.set_io_thread_count(1)
