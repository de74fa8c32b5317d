"""How a service calls a model on onnxruntime in each serving mode: `python -m examples.serving` compares the scores.

In all functions `user` has the user's features by name, each with one row, and `items` those of the candidates, each
with a row for each candidate. A function returns the scores of all candidates. The comment above it has the command
that writes its model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

import mari_onnx

Array = npt.NDArray[Any]
Features = Mapping[str, Array]

MODEL = Path(__file__).parents[1] / "sample_models/din_vanilla.onnx"


def session(model: onnx.ModelProto | Path) -> ort.InferenceSession:
    """A session of onnxruntime, which a service opens once and calls for every request."""
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return ort.InferenceSession(source, providers=["CPUExecutionProvider"])


# Before: every feature has a row for each candidate


def tile(user: Features, candidates: int) -> dict[str, Array]:
    """The user's rows, repeated for each candidate."""
    return {name: np.repeat(row, candidates, axis=0) for name, row in user.items()}


def before(model: ort.InferenceSession, user: Features, items: Features, candidates: int) -> Array:
    """The call of the exported model: the user's rows are repeated for each candidate."""
    (scores,) = model.run(None, {**tile(user, candidates), **items})
    return np.asarray(scores)


# The same call, on a model that computes the user's part once
#   mari-onnx optimize din_vanilla.onnx guarded.onnx -u 'user_*' --guard


def guarded(model: ort.InferenceSession, user: Features, items: Features, candidates: int) -> Array:
    """The same call. Raises ValueError where the scores are NaN, because the rows of the user were not identical."""
    scores = before(model, user, items, candidates)
    if np.isnan(scores).any():
        raise ValueError("the rows of one request are not the same")
    return scores


# One row: the user's features are not repeated any more
#   mari-onnx optimize din_vanilla.onnx one.onnx -u 'user_*' --user-batch one


def one_row(model: ort.InferenceSession, user: Features, items: Features) -> Array:
    """The call with one row of the user, which is not repeated."""
    (scores,) = model.run(None, {**user, **items})
    return np.asarray(scores)


# Several requests in one call, their rows repeated by the caller
#   mari-onnx optimize din_vanilla.onnx mixed.onnx -u 'user_*' --request-key user_id


def mixed(model: ort.InferenceSession, requests: Sequence[tuple[Features, Features, int]]) -> list[Array]:
    """One call for several requests (user, items, number of candidates), with repeated rows; the scores by request.

    The user's part is computed once for each distinct user_id.
    """
    tiled = [{**tile(user, candidates), **items} for user, items, candidates in requests]
    (scores,) = model.run(None, {name: np.concatenate([call[name] for call in tiled]) for name in tiled[0]})
    return np.split(np.asarray(scores), np.cumsum([candidates for *_, candidates in requests])[:-1])


# Several requests in one call, a row each
#   mari-onnx optimize din_vanilla.onnx requests.onnx -u 'user_*' --user-batch requests


def indexed(model: ort.InferenceSession, requests: Sequence[tuple[Features, Features, int]]) -> list[Array]:
    """One call for several requests: a row for each user, and for each candidate the number of its user's row."""
    counts = [candidates for *_, candidates in requests]
    rows = {name: np.concatenate([user[name] for user, *_ in requests]) for name in requests[0][0]}
    items = {name: np.concatenate([each[name] for _, each, _ in requests]) for name in requests[0][1]}
    index = np.repeat(np.arange(len(requests)), counts)
    (scores,) = model.run(None, {**rows, **items, "request_index": index})
    return np.split(np.asarray(scores), np.cumsum(counts)[:-1])


# Two models: the user's part is computed during retrieval, and cached
#   mari-onnx split din_vanilla.onnx --user-model user.onnx --rank-model rank.onnx -u 'user_*'


def fingerprint(model: ort.InferenceSession) -> str:
    """What the models of one split have in common, and no other model. Raises KeyError where a model has none."""
    return str(model.get_modelmeta().custom_metadata_map["mari_onnx.fingerprint"])


@dataclass(frozen=True)
class UserPart:
    """What a user model computed, which may be cached as long as neither it nor the user's features change."""

    fingerprint: str
    vectors: Features


def user_part(model: ort.InferenceSession, user: Features) -> UserPart:
    """The outputs of the user model by name, with the fingerprint of the split that it belongs to."""
    sent = {each.name: user[each.name] for each in model.get_inputs()}
    computed = map(np.asarray, model.run(None, sent))
    names = [each.name for each in model.get_outputs()]
    return UserPart(fingerprint(model), dict(zip(names, computed, strict=True)))


def rank(model: ort.InferenceSession, computed: UserPart, user: Features, items: Features) -> Array:
    """The call of the ranking model, with the outputs of the user model and perhaps some of the user's features.

    Raises ValueError for what the user model of another split computed, such as yesterday's: the scores would be wrong.
    """
    if computed.fingerprint != fingerprint(model):
        raise ValueError(f"computed for {computed.fingerprint}, and not for {fingerprint(model)}: compute it again")
    known = {**user, **items, **computed.vectors}
    (scores,) = model.run(None, {each.name: known[each.name] for each in model.get_inputs()})
    return np.asarray(scores)


# A request with random features


def request(seed: int, candidates: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """A random request: the features of a user and of candidates, ids as the sample model takes them."""
    rng = np.random.default_rng(seed)
    user: dict[str, Array] = {}
    items: dict[str, Array] = {}
    for info in onnx.load(MODEL).graph.input:
        tail = [dim.dim_value for dim in info.type.tensor_type.shape.dim][1:]
        rows, side = (1, user) if info.name.startswith("user_") else (candidates, items)
        side[info.name] = rng.integers(0, 3, (rows, *tail))
    user["user_id"][:] = seed
    return user, items


def main() -> None:
    """Serve one request in each way, and print how far the scores are apart."""
    declared = ["user_*"]
    requests = [(*request(seed, candidates), candidates) for seed, candidates in ((1, 200), (2, 50), (3, 7))]
    original = session(MODEL)
    wanted = [before(original, *each) for each in requests]
    user, items, candidates = requests[0]

    def optimized(**serving: Any) -> ort.InferenceSession:
        return session(mari_onnx.optimize(MODEL, user_inputs=declared, verify=False, **serving).model)

    parts = mari_onnx.split(MODEL, user_inputs=declared, verify=False).models
    computed = user_part(session(parts["user"]), user)
    found = {
        "guarded": [guarded(optimized(guard="nan"), user, items, candidates)],
        "one row": [one_row(optimized(user_batch="one"), user, items)],
        "by key": mixed(optimized(request_key=["user_id"]), requests),
        "by index": indexed(optimized(user_batch="requests"), requests),
        "two models": [rank(session(parts["rank"]), computed, user, items)],
    }
    for way, scores in found.items():
        apart = max(float(np.abs(a - b).max()) for a, b in zip(scores, wanted, strict=False))
        print(f"{way:<12} {len(scores)} request{'s' * (len(scores) != 1)}, at most {apart:.1g} apart")


if __name__ == "__main__":
    main()
