"""Make the sample models: small ranking models, exported the way people export them.

    python sample_models/make_samples.py               every model, samples.json, the table in README.md
    python sample_models/make_samples.py 'din_*'       only these models; the table and samples.json follow
    python sample_models/make_samples.py --out DIR     everything into DIR: compare it with what is committed
    python sample_models/make_samples.py --table       print the table of the files that are there

`SAMPLES`, near the end, is the list. A model appears in one of three variants:

    vanilla    every input has `batch` rows: the caller tiles the user's row
    expanded   user inputs have one row, which the graph expands to `batch` rows
    requests   user inputs have `n_req` rows; `req_index` says which of them each candidate belongs to

An export that is invalid, differs from torch, or names a path of the machine that made it raises SampleError.
"""

# torch-rechub has no type information.
# mypy: disable-error-code="no-any-return, import-untyped"

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import itertools
import json
import logging
import math
import re
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from google.protobuf.message import Message
from torch import Tensor, nn
from torch_rechub import __version__ as rechub_version
from torch_rechub.basic.features import DenseFeature, SequenceFeature, SparseFeature
from torch_rechub.models.multi_task import MMOE, PLE
from torch_rechub.models.ranking import DCN, DIN, DeepFM, WideDeep

HERE = Path(__file__).resolve().parent
RECHUB = f"torch-rechub {rechub_version}"
TORCH = f"torch {torch.__version__.partition('+')[0]}"

USER_INPUTS = "user_*"
INDEX = "req_index"

Variant: TypeAlias = Literal["vanilla", "expanded", "requests"]
Exporter: TypeAlias = Literal["torchscript", "dynamo"]
RechubFeature: TypeAlias = SparseFeature | SequenceFeature | DenseFeature
Rows: TypeAlias = dict[str, Tensor]
"""The rows of one call, by feature name."""


class SampleError(Exception):
    """A sample that must not be committed."""


# Features ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Feature:
    """One input of a model: an id below `vocab`, or a number in [0, 1] when there is no `vocab`."""

    name: str
    vocab: int | None = None
    length: int | None = None
    """Ids a row, padded with 0; None for one value a row."""
    dim: int = 16
    """Width of its embedding."""
    table: str | None = None
    """The feature whose embedding table it shares."""

    @property
    def is_user(self) -> bool:
        return fnmatch.fnmatchcase(self.name, USER_INPUTS)


USER_ID = Feature("user_id", 400)
USER_AGE = Feature("user_age", 10)
USER_GENDER = Feature("user_gender", 3)
USER_CITY = Feature("user_city", 120)
USER_DEVICE = Feature("user_device", 30)
USER_LEVEL = Feature("user_level", 8)
USER_HIST_ITEM = Feature("user_hist_item", 400, length=20, table="item_id")
USER_HIST_CATEGORY = Feature("user_hist_category", 40, length=20, table="item_category")
USER_ACTIVE_DAYS = Feature("user_active_days")
USER_AVG_PRICE = Feature("user_avg_price")

ITEM_ID = Feature("item_id", 400)
ITEM_CATEGORY = Feature("item_category", 40)
ITEM_BRAND = Feature("item_brand", 100)
ITEM_SELLER = Feature("item_seller", 150)
ITEM_PRICE = Feature("item_price")
ITEM_CTR_7D = Feature("item_ctr_7d")
CTX_POSITION = Feature("ctx_position", 20)
CTX_SCENE = Feature("ctx_scene", 6)
CROSS_USER_CATEGORY_CTR = Feature("cross_user_category_ctr")

PROFILE = (USER_ID, USER_AGE, USER_GENDER, USER_CITY, USER_DEVICE, USER_LEVEL)
HISTORY = (USER_HIST_ITEM, USER_HIST_CATEGORY)
USER_NUMBERS = (USER_ACTIVE_DAYS, USER_AVG_PRICE)
ITEM = (ITEM_ID, ITEM_CATEGORY, ITEM_BRAND, ITEM_SELLER)
ITEM_NUMBERS = (ITEM_PRICE, ITEM_CTR_7D, CROSS_USER_CATEGORY_CTR)
CONTEXT = (CTX_POSITION, CTX_SCENE)

RANKING = (*PROFILE, *HISTORY, *USER_NUMBERS, *ITEM, *CONTEXT, *ITEM_NUMBERS)
"""User features first, as they come out of a feature store."""
MIXED: tuple[Feature, ...] = (
    ITEM_ID,
    USER_ID,
    ITEM_CATEGORY,
    USER_AGE,
    CTX_POSITION,
    USER_CITY,
    ITEM_BRAND,
    *HISTORY,
    ITEM_SELLER,
)
MIXED += (USER_DEVICE, CTX_SCENE, USER_LEVEL, ITEM_PRICE, *USER_NUMBERS, ITEM_CTR_7D)
"""User and item features interleaved."""
ATTENTION = (*PROFILE, *HISTORY, *ITEM, *CONTEXT)
"""Ids only: what the models take that attend over the history."""


def rechub_feature(feature: Feature, pooling: str = "mean") -> RechubFeature:
    """The feature as torch-rechub declares it."""
    if feature.vocab is None:
        return DenseFeature(feature.name)
    if feature.length is None:
        return SparseFeature(feature.name, feature.vocab, feature.dim, shared_with=feature.table)
    padding = 0 if pooling == "mean" else None
    return SequenceFeature(feature.name, feature.vocab, feature.dim, pooling, feature.table, padding_idx=padding)


def rechub_features(features: Sequence[Feature]) -> list[RechubFeature]:
    return [rechub_feature(feature) for feature in features]


# Models of torch-rechub ----------------------------------------------------------------------------------------------


def wide_deep(features: Sequence[Feature]) -> nn.Module:
    numbers = [feature for feature in features if feature.vocab is None]
    wide = rechub_features([USER_AGE, USER_CITY, ITEM_CATEGORY, CTX_POSITION, *numbers])
    return WideDeep(wide, rechub_features(features), {"dims": [128, 64], "activation": "relu", "dropout": 0.1})


def deep_fm(features: Sequence[Feature]) -> nn.Module:
    fm = rechub_features([feature for feature in features if feature.vocab is not None])
    return DeepFM(rechub_features(features), fm, {"dims": [192, 96], "activation": "relu", "dropout": 0.1})


def dcn(features: Sequence[Feature]) -> nn.Module:
    return DCN(rechub_features(features), n_cross_layers=3, mlp_params={"dims": [128, 64], "activation": "prelu"})


def mmoe(features: Sequence[Feature]) -> nn.Module:
    towers = [{"dims": [32], "activation": "relu"}] * 2
    tasks = ["classification", "classification"]
    return MMOE(rechub_features(features), tasks, 3, {"dims": [96, 48], "activation": "relu"}, towers)


def ple(features: Sequence[Feature]) -> nn.Module:
    return PLE(
        rechub_features(features),
        task_types=["classification", "regression"],
        n_level=2,
        n_expert_specific=1,
        n_expert_shared=1,
        expert_params={"dims": [80], "activation": "relu"},
        tower_params_list=[{"dims": [32], "activation": "relu"}] * 2,
    )


def din(features: Sequence[Feature]) -> nn.Module:
    targets = (ITEM_ID, ITEM_CATEGORY)
    others = [feature for feature in features if feature not in (*HISTORY, *targets)]
    return DIN(
        rechub_features(others),
        [rechub_feature(feature, pooling="concat") for feature in HISTORY],
        rechub_features(targets),
        mlp_params={"dims": [128, 64]},
        attention_mlp_params={"dims": [64, 32], "activation": "dice", "use_softmax": True},
    )


# Models in plain torch -----------------------------------------------------------------------------------------------


class Embeddings(nn.Module):
    """Ids to vectors and numbers to columns; a history is returned as a sequence, with its mask."""

    def __init__(self, features: Sequence[Feature]) -> None:
        super().__init__()
        tables = {feature.name: feature for feature in features if feature.vocab and feature.table is None}
        self.tables = nn.ModuleDict({n: nn.Embedding(f.vocab or 0, f.dim) for n, f in tables.items()})
        self.of = {feature.name: feature.table or feature.name for feature in features}

    def column(self, rows: Rows, feature: Feature) -> Tensor:
        x = rows[feature.name]
        return self.tables[self.of[feature.name]](x) if feature.vocab else x.unsqueeze(1)

    def flat(self, rows: Rows, features: Sequence[Feature]) -> Tensor:
        """(batch, width): the embeddings and numbers of `features`, side by side."""
        return torch.cat([self.column(rows, feature) for feature in features], dim=1)

    def sequence(self, rows: Rows, features: Sequence[Feature]) -> tuple[Tensor, Tensor]:
        """(batch, length, width) of histories side by side, and the (batch, length) mask of what is no padding."""
        return torch.cat([self.column(rows, feature) for feature in features], dim=-1), rows[features[0].name] != 0


def width(features: Sequence[Feature]) -> int:
    return sum(feature.dim if feature.vocab else 1 for feature in features)


def mlp(*widths: int, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with an activation between each two."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Linear(a, b), activation()]
    return nn.Sequential(*layers[:-1])


class CrossAttention(nn.Module):
    """The candidate attends over the user's history, 4 heads; an MLP ranks profile, interest and candidate.

    The keys and values depend on the user only: they are projected at the user's rows and repeated after.
    """

    HEADS, HEAD = 4, 16

    def __init__(self, features: Sequence[Feature]) -> None:
        super().__init__()
        inner = self.HEADS * self.HEAD
        self.profile = [feature for feature in features if feature.is_user and feature.length is None]
        self.item = [feature for feature in features if not feature.is_user]
        self.embeddings = Embeddings(features)
        self.query = nn.Linear(width((ITEM_ID, ITEM_CATEGORY)), inner)
        self.key = nn.Linear(width(HISTORY), inner)
        self.value = nn.Linear(width(HISTORY), inner)
        self.out = nn.Linear(inner, inner)
        self.rank = mlp(width(self.profile) + inner + width(self.item), 128, 64, 1)

    def heads(self, x: Tensor) -> Tensor:
        """(batch, length, heads * head) -> (batch, heads, length, head)."""
        return x.view(*x.shape[:2], self.HEADS, self.HEAD).transpose(1, 2)

    def forward(self, rows: Rows) -> Tensor:
        history, mask = self.embeddings.sequence(rows, HISTORY)
        profile = self.embeddings.flat(rows, self.profile)
        item = self.embeddings.flat(rows, self.item)
        target = self.embeddings.flat(rows, (ITEM_ID, ITEM_CATEGORY))

        batch = item.shape[0]
        key = self.heads(self.key(history)).repeat_interleave(batch, dim=0)
        value = self.heads(self.value(history)).repeat_interleave(batch, dim=0)
        mask = mask.repeat_interleave(batch, dim=0)
        profile = profile.repeat_interleave(batch, dim=0)

        query = self.heads(self.query(target).unsqueeze(1))
        scores = query @ key.transpose(-1, -2) / math.sqrt(self.HEAD)
        scores = scores.masked_fill(~mask[:, None, None, :], -1e4)
        interest = self.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(1))
        return torch.sigmoid(self.rank(torch.cat([profile, interest, item], dim=1))).squeeze(1)


class CrossAttentionModule(nn.Module):
    """The same idea by nn.MultiheadAttention, with layer normalization before the MLP; every input at batch rows."""

    def __init__(self, features: Sequence[Feature]) -> None:
        super().__init__()
        inner = width(HISTORY)
        self.profile = [feature for feature in features if feature.is_user and feature.length is None]
        self.item = [feature for feature in features if not feature.is_user]
        self.embeddings = Embeddings(features)
        self.attention = nn.MultiheadAttention(inner, num_heads=4, batch_first=True)
        self.norm = nn.LayerNorm(inner)
        self.rank = mlp(width(self.profile) + inner + width(self.item), 128, 64, 1, activation=nn.GELU)

    def forward(self, rows: Rows) -> Tensor:
        history, mask = self.embeddings.sequence(rows, HISTORY)
        profile = self.embeddings.flat(rows, self.profile)
        item = self.embeddings.flat(rows, self.item)
        query = self.embeddings.flat(rows, (ITEM_ID, ITEM_CATEGORY)).unsqueeze(1)
        bias = torch.where(mask, 0.0, -1e4)[:, None, None, :].expand(-1, 4, -1, -1).flatten(0, 1)
        interest, _ = self.attention(query, history, history, attn_mask=bias, need_weights=False)
        interest = self.norm(interest.squeeze(1))
        return torch.sigmoid(self.rank(torch.cat([interest, profile, item], dim=1))).squeeze(1)


class TwoTower(nn.Module):
    """A user tower, an item tower, and an MLP on both outputs, their product and the cross features.

    `spread` turns the user tower's output, one row a user, into one row a candidate.
    """

    def __init__(self, features: Sequence[Feature], spread: Callable[[Tensor, Rows], Tensor]) -> None:
        super().__init__()
        self.spread = spread
        self.user = [feature for feature in features if feature.is_user and feature.length is None]
        self.item = [feature for feature in features if feature.name.startswith("item_")]
        self.cross = [feature for feature in features if feature.name.startswith(("ctx_", "cross_"))]
        self.embeddings = Embeddings(features)
        self.user_tower = mlp(width(self.user) + width(HISTORY), 128, 64)
        self.item_tower = mlp(width(self.item), 96, 64)
        self.rank = mlp(3 * 64 + width(self.cross), 128, 64, 1)

    def forward(self, rows: Rows) -> Tensor:
        history, mask = self.embeddings.sequence(rows, HISTORY)
        weight = mask.to(history.dtype).unsqueeze(-1)
        pooled = (history * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)
        user = self.user_tower(torch.cat([self.embeddings.flat(rows, self.user), pooled], dim=1))
        user = self.spread(user, rows)
        item = self.item_tower(self.embeddings.flat(rows, self.item))
        cross = self.embeddings.flat(rows, self.cross)
        return torch.sigmoid(self.rank(torch.cat([user, item, user * item, cross], dim=1)))


def expand_to_item(user: Tensor, rows: Rows) -> Tensor:
    return user.expand(rows["item_id"].shape[0], -1)


def row_of_request(user: Tensor, rows: Rows) -> Tensor:
    return user.index_select(0, rows[INDEX])


def two_tower_expanded(features: Sequence[Feature]) -> nn.Module:
    return TwoTower(features, expand_to_item)


def two_tower_requests(features: Sequence[Feature]) -> nn.Module:
    return TwoTower(features, row_of_request)


class Tokens(nn.Module):
    """One sequence of the user's profile, the steps of the history and the candidate, which is scored by its own token.

    A token sees itself and the tokens before it, but for padded steps of the history.
    """

    WIDTH, HEADS, LAYERS = 64, 4, 2

    def __init__(self, features: Sequence[Feature]) -> None:
        super().__init__()
        self.profile = [feature for feature in features if feature.is_user and feature.length is None]
        self.item = [feature for feature in features if not feature.is_user]
        self.embeddings = Embeddings(features)
        self.of_profile = nn.Linear(width(self.profile), self.WIDTH)
        self.of_step = nn.Linear(width(HISTORY), self.WIDTH)
        self.of_item = nn.Linear(width(self.item), self.WIDTH)
        self.steps = 2 + (HISTORY[0].length or 0)
        self.score = nn.Linear(self.WIDTH, 1)

    def tokens(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """(batch, steps, width) of tokens, and (batch, steps, steps) of which token sees which."""
        history, there = self.embeddings.sequence(rows, HISTORY)
        profile = self.of_profile(self.embeddings.flat(rows, self.profile))
        item = self.of_item(self.embeddings.flat(rows, self.item))
        x = torch.cat([profile.unsqueeze(1), self.of_step(history), item.unsqueeze(1)], dim=1)
        always = torch.ones_like(there[:, :1])
        seen = torch.cat([always, there, always], dim=1)
        causal = torch.ones(self.steps, self.steps, dtype=torch.bool).tril()
        return x, causal & (seen.unsqueeze(1) | torch.eye(self.steps, dtype=torch.bool))

    def heads(self, x: Tensor) -> Tensor:
        """(batch, steps, width) -> (batch, heads, steps, head)."""
        return x.view(*x.shape[:2], self.HEADS, -1).transpose(1, 2)


class DecoderLayer(nn.Module):
    """A layer of a Llama-like decoder: RMSNorm, rotary positions, softmax attention, and a gated MLP."""

    def __init__(self, of: Tokens) -> None:
        super().__init__()
        width, inner = of.WIDTH, 2 * of.WIDTH
        self.norm, self.norm_mlp = nn.RMSNorm(width, eps=1e-6), nn.RMSNorm(width, eps=1e-6)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width, bias=False)
        self.gate, self.up = (nn.Linear(width, inner, bias=False) for _ in range(2))
        self.down = nn.Linear(inner, width, bias=False)


def rotated(x: Tensor) -> Tensor:
    """(batch, heads, steps, head) with each pair of halves turned by the angle of its step."""
    steps, head = x.shape[-2:]
    angles = torch.outer(torch.arange(steps), 100.0 ** -(torch.arange(head // 2) * 2 / head)).repeat(1, 2)
    first, second = x.chunk(2, dim=-1)
    return x * angles.cos() + torch.cat([-second, first], dim=-1) * angles.sin()


class Decoder(Tokens):
    """A Llama-like decoder over the sequence."""

    def __init__(self, features: Sequence[Feature]) -> None:
        super().__init__(features)
        self.layers = nn.ModuleList(DecoderLayer(self) for _ in range(self.LAYERS))
        self.norm = nn.RMSNorm(self.WIDTH, eps=1e-6)

    def forward(self, rows: Rows) -> Tensor:
        x, seen = self.tokens(rows)
        for layer in self.layers:
            normed = layer.norm(x)
            query, key = (rotated(self.heads(of(normed))) for of in (layer.query, layer.key))
            scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
            scores = scores.masked_fill(~seen.unsqueeze(1), -math.inf)
            mixed = scores.softmax(-1) @ self.heads(layer.value(normed))
            x = x + layer.out(mixed.transpose(1, 2).flatten(2))
            normed = layer.norm_mlp(x)
            x = x + layer.down(nn.functional.silu(layer.gate(normed)) * layer.up(normed))
        return torch.sigmoid(self.score(self.norm(x[:, -1]))).squeeze(1)


class HSTULayer(nn.Module):
    """A layer of HSTU: attention by SiLU with a bias for each distance, gated by a fourth projection."""

    def __init__(self, of: Tokens) -> None:
        super().__init__()
        self.norm, self.norm_mixed = nn.LayerNorm(of.WIDTH), nn.LayerNorm(of.WIDTH)
        self.projections = nn.Linear(of.WIDTH, 4 * of.WIDTH)
        self.distance = nn.Embedding(of.steps, of.HEADS)
        self.out = nn.Linear(of.WIDTH, of.WIDTH)


class HSTU(Tokens):
    """HSTU over the sequence: no softmax, so that a masked token has no part in any sum."""

    def __init__(self, features: Sequence[Feature]) -> None:
        super().__init__(features)
        self.layers = nn.ModuleList(HSTULayer(self) for _ in range(self.LAYERS))

    def forward(self, rows: Rows) -> Tensor:
        x, seen = self.tokens(rows)
        places = torch.arange(self.steps)
        distances = (places.unsqueeze(1) - places).clamp(min=0)
        for layer in self.layers:
            gate, query, key, value = nn.functional.silu(layer.projections(layer.norm(x))).chunk(4, dim=-1)
            scores = self.heads(query) @ self.heads(key).transpose(-1, -2) + layer.distance(distances).permute(2, 0, 1)
            weights = nn.functional.silu(scores) / self.steps * seen.unsqueeze(1)
            mixed = (weights @ self.heads(value)).transpose(1, 2).flatten(2)
            x = x + layer.out(layer.norm_mixed(mixed) * gate)
        return torch.sigmoid(self.score(x[:, -1])).squeeze(1)


# From the user's rows to the candidates' -----------------------------------------------------------------------------


def by_expand(x: Tensor, rows: Rows) -> Tensor:
    return x.expand(rows["item_id"].shape[0], *x.shape[1:])


def by_repeat(x: Tensor, rows: Rows) -> Tensor:
    return x.repeat(rows["item_id"].shape[0], *[1] * (x.dim() - 1))


def by_tile(x: Tensor, rows: Rows) -> Tensor:
    return x.tile(rows["item_id"].shape[0], *[1] * (x.dim() - 1))


def by_index_select(x: Tensor, rows: Rows) -> Tensor:
    return x.index_select(0, rows[INDEX])


def by_subscript(x: Tensor, rows: Rows) -> Tensor:
    return x[rows[INDEX]]


class SpreadInputs(nn.Module):
    """Spreads the raw user inputs over the candidates, before a model that knows of one batch only."""

    def __init__(self, model: nn.Module, spread: Callable[[Tensor, Rows], Tensor]) -> None:
        super().__init__()
        self.model = model
        self.spread = spread

    def forward(self, rows: Rows) -> Tensor:
        spread = {
            n: self.spread(x, rows) if fnmatch.fnmatchcase(n, USER_INPUTS) else x for n, x in rows.items() if n != INDEX
        }
        return self.model(spread)


class ByPosition(nn.Module):
    """Takes the inputs by position, as the exporters call a model."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.names = list(names)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.model(dict(zip(self.names, inputs, strict=True)))


# The samples ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One file: the model, how it is called, and how it is exported."""

    name: str
    title: str
    source: str
    build: Callable[[Sequence[Feature]], nn.Module]
    features: tuple[Feature, ...]
    exporter: Exporter
    opset: int
    variant: Variant
    spread: Callable[[Tensor, Rows], Tensor] | None = None
    """Spreads the raw user inputs over the candidates; None when the caller or the model itself does."""
    spread_by: str = "the caller"
    """The same in words, for the table."""
    output: str = "score"

    @property
    def file(self) -> str:
        return f"{self.name}.onnx"

    @property
    def index(self) -> str | None:
        return INDEX if self.variant == "requests" else None

    @property
    def inputs(self) -> list[str]:
        return [feature.name for feature in self.features] + ([self.index] if self.index else [])

    def rows(self, feature: Feature) -> str | int:
        """The first dimension of a feature: a name where it is dynamic."""
        of_user: dict[Variant, str | int] = {"vanilla": "batch", "expanded": 1, "requests": "n_req"}
        return of_user[self.variant] if feature.is_user else "batch"


SAMPLES: tuple[Sample, ...] = (
    Sample(
        name="wide_deep_vanilla",
        title="Wide & Deep",
        source=RECHUB,
        build=wide_deep,
        features=RANKING,
        exporter="torchscript",
        opset=17,
        variant="vanilla",
    ),
    Sample(
        name="deepfm_expanded",
        title="DeepFM",
        source=RECHUB,
        build=deep_fm,
        features=RANKING,
        exporter="dynamo",
        opset=18,
        variant="expanded",
        spread=by_expand,
        spread_by="`expand` of the ids",
    ),
    Sample(
        name="dcn_expanded",
        title="DCN",
        source=RECHUB,
        build=dcn,
        features=MIXED,
        exporter="torchscript",
        opset=16,
        variant="expanded",
        spread=by_repeat,
        spread_by="`repeat` of the ids",
    ),
    Sample(
        name="mmoe_vanilla",
        title="MMoE, 3 experts, 2 tasks",
        source=RECHUB,
        build=mmoe,
        features=RANKING,
        exporter="dynamo",
        opset=20,
        variant="vanilla",
        output="scores",
    ),
    Sample(
        name="mmoe_requests",
        title="MMoE, 3 experts, 2 tasks",
        source=RECHUB,
        build=mmoe,
        features=MIXED,
        exporter="torchscript",
        opset=17,
        variant="requests",
        spread=by_index_select,
        spread_by="`index_select` of the ids",
        output="scores",
    ),
    Sample(
        name="ple_expanded",
        title="PLE, 2 levels, 2 tasks",
        source=RECHUB,
        build=ple,
        features=RANKING,
        exporter="torchscript",
        opset=14,
        variant="expanded",
        spread=by_tile,
        spread_by="`tile` of the ids",
        output="scores",
    ),
    Sample(
        name="din_vanilla",
        title="DIN",
        source=RECHUB,
        build=din,
        features=ATTENTION,
        exporter="torchscript",
        opset=14,
        variant="vanilla",
    ),
    Sample(
        name="din_requests",
        title="DIN",
        source=RECHUB,
        build=din,
        features=ATTENTION,
        exporter="dynamo",
        opset=18,
        variant="requests",
        spread=by_subscript,
        spread_by="`ids[req_index]`",
    ),
    Sample(
        name="cross_attention_vanilla",
        title="Cross attention, `nn.MultiheadAttention`",
        source=TORCH,
        build=CrossAttentionModule,
        features=ATTENTION,
        exporter="torchscript",
        opset=17,
        variant="vanilla",
    ),
    Sample(
        name="cross_attention_expanded",
        title="Cross attention, written out",
        source=TORCH,
        build=CrossAttention,
        features=ATTENTION,
        exporter="dynamo",
        opset=18,
        variant="expanded",
        spread_by="`repeat_interleave` of keys, values, profile",
    ),
    Sample(
        name="decoder_expanded",
        title="Decoder over profile, history and candidate",
        source=TORCH,
        build=Decoder,
        features=ATTENTION,
        exporter="dynamo",
        opset=18,
        variant="expanded",
        spread=by_expand,
        spread_by="`expand` of the ids",
    ),
    Sample(
        name="hstu_vanilla",
        title="HSTU over profile, history and candidate",
        source=TORCH,
        build=HSTU,
        features=ATTENTION,
        exporter="torchscript",
        opset=17,
        variant="vanilla",
    ),
    Sample(
        name="two_tower_expanded",
        title="Two towers and an MLP",
        source=TORCH,
        build=two_tower_expanded,
        features=RANKING,
        exporter="dynamo",
        opset=20,
        variant="expanded",
        spread_by="`expand` of the user's vector",
    ),
    Sample(
        name="two_tower_requests",
        title="Two towers and an MLP",
        source=TORCH,
        build=two_tower_requests,
        features=RANKING,
        exporter="torchscript",
        opset=16,
        variant="requests",
        spread_by="`index_select` of the user's vector",
    ),
)


# Weights and inputs --------------------------------------------------------------------------------------------------


def randomize(model: nn.Module, seed: int) -> None:
    """Give every parameter and running statistic a seeded value that a trained model could have.

    The libraries start from embeddings of 1e-4, biases of 0 and statistics of exactly 0 and 1: with these, an
    error in a model's user part would hardly show in its scores.
    """
    rng = np.random.default_rng(seed)
    batch_norm = nn.modules.batchnorm._BatchNorm
    for module in model.modules():
        if isinstance(module, batch_norm):
            assign(module.running_mean, rng.normal(0.0, 0.3, module.num_features))
            assign(module.running_var, rng.uniform(0.5, 1.5, module.num_features))
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, (batch_norm, nn.LayerNorm, nn.RMSNorm)) and name == "weight":
                assign(parameter, rng.uniform(0.7, 1.3, parameter.shape))
            elif isinstance(module, nn.Embedding):
                assign(parameter, rng.normal(0.0, 0.25, parameter.shape))
            elif parameter.dim() == 1:
                assign(parameter, rng.normal(0.0, 0.1, parameter.shape))
            else:
                assign(parameter, rng.normal(0.0, math.sqrt(1.6 / parameter.shape[-1]), parameter.shape))


def assign(to: Tensor | None, values: npt.NDArray[np.float64]) -> None:
    if to is not None:
        to.data.copy_(torch.from_numpy(values))


def seed_of(*parts: object) -> int:
    return zlib.crc32(repr(parts).encode())


def rows_of(sample: Sample, batch: int, n_req: int, seed: int) -> Rows:
    """One call's inputs: the rows that the caller tiles are identical, and each history ends in padding."""
    g = torch.Generator().manual_seed(seed)
    users = {"vanilla": 1, "expanded": 1, "requests": n_req}[sample.variant]
    rows: Rows = {}
    for feature in sample.features:
        shape = (users if feature.is_user else batch, *([feature.length] if feature.length else []))
        if feature.vocab is None:
            rows[feature.name] = torch.rand(shape, generator=g)
            continue
        ids = torch.randint(0, feature.vocab, shape, generator=g)
        if feature.length is not None:
            used = torch.randint(1, feature.length + 1, (shape[0], 1), generator=g)
            ids = ids.clamp(min=1) * (torch.arange(feature.length) < used)
        rows[feature.name] = ids
    if sample.variant == "vanilla":
        rows |= {f.name: rows[f.name].repeat_interleave(batch, dim=0) for f in sample.features if f.is_user}
    if sample.index:
        rows[sample.index] = torch.randint(0, n_req, (batch,), generator=g)
    return rows


# Export --------------------------------------------------------------------------------------------------------------


def torch_model(sample: Sample) -> ByPosition:
    """The model as it is exported: weights in place, in eval mode, inputs by position."""
    torch.manual_seed(0)
    model = sample.build(sample.features)
    randomize(model, seed_of(sample.build.__name__, sample.features))
    if sample.spread:
        model = SpreadInputs(model, sample.spread)
    return ByPosition(model, sample.inputs).eval()


def dynamic_rows(sample: Sample) -> dict[str, str]:
    """The name of the first dimension of each input where it is dynamic."""
    rows = {feature.name: sample.rows(feature) for feature in sample.features}
    if sample.index:
        rows[sample.index] = "batch"
    return {name: dim for name, dim in rows.items() if isinstance(dim, str)}


def export(sample: Sample, model: ByPosition) -> onnx.ModelProto:
    """The model as the exporter writes it, in one file, without traces of the machine."""
    example = tuple(rows_of(sample, batch=8, n_req=3, seed=0).values())
    dynamic = dynamic_rows(sample)
    options: dict[str, Any] = {"dynamic_axes": {name: {0: dim} for name, dim in dynamic.items()}}
    options["dynamic_axes"][sample.output] = {0: "batch"}
    if sample.exporter == "dynamo":
        dims = {dim: torch.export.Dim(dim) for dim in sorted(set(dynamic.values()))}
        shapes = tuple({0: dims[dynamic[name]]} if name in dynamic else {} for name in sample.inputs)
        options = {"dynamic_shapes": (shapes,), "external_data": False}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / sample.file
        torch.onnx.export(
            model,
            example,
            path,
            dynamo=sample.exporter == "dynamo",
            opset_version=sample.opset,
            input_names=sample.inputs,
            output_names=[sample.output],
            verbose=False,
            **options,
        )
        exported = onnx.load(path)
    drop_source_paths(exported)
    return exported


def drop_source_paths(message: Message) -> None:
    """Remove the exporters' stack traces, in metadata and doc strings; all other metadata stays."""
    for field, value in message.ListFields():
        if field.name == "metadata_props":
            for entry in [entry for entry in value if entry.key.endswith("stack_trace") or ".py" in entry.value]:
                value.remove(entry)
        elif field.name == "doc_string":
            if ".py" in value:
                message.ClearField("doc_string")
        elif field.message_type is not None:
            for child in [value] if isinstance(value, Message) else value:
                drop_source_paths(child)


# Checks --------------------------------------------------------------------------------------------------------------

BATCHES = (1, 2, 7, 64)
TOLERANCE = 1e-5
LARGEST = 1_000_000


def check(sample: Sample, model: ByPosition, data: bytes) -> None:
    """Raise SampleError unless the bytes are a valid, small model that names no path and computes what torch does."""
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    if len(data) >= LARGEST:
        raise SampleError(f"{sample.file}: {len(data):,} bytes, at most {LARGEST:,} are meant")
    if found := [path for path in machine_paths() if path.encode() in data]:
        raise SampleError(f"{sample.file}: names a path of this machine: {', '.join(found)}")

    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    for batch in BATCHES:
        rows = rows_of(sample, batch, n_req=min(batch, 3), seed=batch)
        with torch.no_grad():
            expected: npt.NDArray[np.float32] = model(*rows.values()).numpy()
        (actual,) = session.run(None, {name: x.numpy() for name, x in rows.items()})
        if actual.shape != expected.shape:
            raise SampleError(f"{sample.file}: {actual.shape} at batch {batch}, torch gives {expected.shape}")
        if not (worst := float(np.abs(actual - expected).max())) <= TOLERANCE:
            raise SampleError(f"{sample.file}: differs from torch by {worst:.2e} at batch {batch}")
    if (spread := float(expected.std(axis=0).min())) < 0.01:
        raise SampleError(
            f"{sample.file}: the candidates' scores differ by {spread:.2e} only: a check would see little"
        )


def machine_paths() -> list[str]:
    """Beginnings of paths on this machine, and what only a path to an installed package contains."""
    folders = {sys.prefix, sys.base_prefix, str(HERE), str(Path.cwd()), str(Path.home()), tempfile.gettempdir()}
    return ["site-packages", *sorted(f"{folder}/" for folder in folders if len(folder) > 1)]


# What is written -----------------------------------------------------------------------------------------------------


def metadata(sample: Sample) -> dict[str, Any]:
    """The entry in samples.json: what a test needs to call the model without torch. Ranges are inclusive."""
    specs: dict[str, dict[str, Any]] = {}
    for feature in sample.features:
        shape = [sample.rows(feature), *([feature.length] if feature.length else [])]
        if feature.vocab is None:
            specs[feature.name] = {"dtype": "float32", "shape": shape, "low": 0.0, "high": 1.0}
        else:
            specs[feature.name] = {"dtype": "int64", "shape": shape, "low": 0, "high": feature.vocab - 1}
    if sample.index:
        specs[sample.index] = {"dtype": "int64", "shape": ["batch"], "low": 0, "high": "n_req-1"}
    return {
        "file": sample.file,
        "model": sample.title,
        "source": sample.source,
        "exporter": sample.exporter,
        "opset": sample.opset,
        "variant": sample.variant,
        "user_inputs": [feature.name for feature in sample.features if feature.is_user],
        "item_inputs": [feature.name for feature in sample.features if not feature.is_user],
        "index_input": sample.index,
        "output": sample.output,
        "input_specs": specs,
    }


def graph_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those in the branches of an If included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graph_nodes(attribute.g)


def table(folder: Path) -> str:
    """The Markdown table of the samples in a folder."""
    head = ("file", "model", "source", "exporter", "opset", "variant", "rows spread by", "user inputs", "KB", "nodes")
    lines = [head, tuple("---:" if name in ("opset", "KB", "nodes") else "---" for name in head)]
    for sample in SAMPLES:
        path = folder / sample.file
        nodes = sum(1 for _ in graph_nodes(onnx.load(path).graph))
        kilobytes = round(path.stat().st_size / 1000)
        lines.append(
            (
                f"`{sample.file}`",
                sample.title,
                sample.source,
                sample.exporter,
                str(sample.opset),
                sample.variant,
                sample.spread_by,
                f"`{USER_INPUTS}`",
                str(kilobytes),
                str(nodes),
            )
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rewrite_table(readme: Path, rows: str) -> None:
    """Put the table between the markers of the README."""
    between = re.compile(r"(?<=<!-- table: begin -->\n).*?(?=<!-- table: end -->)", re.DOTALL)
    text, found = between.subn(lambda _: rows + "\n", readme.read_text(encoding="utf-8"))
    if found != 1:
        raise SampleError(f"{readme.name}: expected the table's markers once, found them {found} times")
    readme.write_text(text, encoding="utf-8")


def make(sample: Sample, folder: Path) -> None:
    """Export one sample, check it, and write it."""
    model = torch_model(sample)
    data = export(sample, model).SerializeToString(deterministic=True)
    check(sample, model, data)
    (folder / sample.file).write_bytes(data)
    print(f"{sample.file:32} {len(data) / 1000:6.0f} KB  sha256 {hashlib.sha256(data).hexdigest()[:16]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pattern", nargs="?", default="*", help="make only the models whose name matches")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: beside this script)")
    parser.add_argument("--table", action="store_true", help="print the table of the files in that folder, make none")
    arguments = parser.parse_args()
    folder: Path = arguments.out

    if arguments.table:
        print(table(folder))
        return
    chosen = [sample for sample in SAMPLES if fnmatch.fnmatch(sample.name, arguments.pattern)]
    if not chosen:
        parser.error(f"no sample matches {arguments.pattern!r}; there are {', '.join(s.name for s in SAMPLES)}")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    for sample in chosen:
        make(sample, folder)
    described = {sample.name: metadata(sample) for sample in SAMPLES}
    (folder / "samples.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    if folder.resolve() == HERE:
        rewrite_table(folder / "README.md", table(folder))


if __name__ == "__main__":
    main()
