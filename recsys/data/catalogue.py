"""What is known of items and users as tensors, ready to be encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from recsys.data.hashing import stable_hash
from recsys.data.spec import FIRST, DatasetSpec
from recsys.value import require

NEVER = -30.0  # finite, so that it can be subtracted, and as good as impossible


class _Columns:
    """Tensors whose first dimension is the vocabulary index."""

    __slots__ = ()

    def take(self, index: Tensor) -> Self:
        return type(self)(**{f.name: getattr(self, f.name)[index] for f in fields(self)})  # type: ignore[arg-type]

    def to(self, device: torch.device | str) -> Self:
        return type(self)(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})  # type: ignore[arg-type]

    def __len__(self) -> int:
        return getattr(self, fields(self)[0].name).shape[0]  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Catalogue(_Columns):
    """Items by vocabulary index; row 0 is padding, row 1 an unknown item."""

    id_hash: Tensor  # [V, Hn] int64, 0 for padding and for items without train events
    categorical: Tensor  # [V, C] int64
    numeric: Tensor  # [V, F] float32
    text: Tensor  # [V, E] float16
    log_p: Tensor  # [V] float32, log of (train events + 1) / (all train events + items); NEVER for padding and unknown

    @classmethod
    def load(cls, dataset: Path, spec: DatasetSpec, id_buckets: int, num_hashes: int = 2) -> Catalogue:
        """From a prepared dataset. Raises ValueError when its tables aren't what its specification says."""
        table = _table(dataset / "items.parquet", spec.num_items)
        count = table["train_count"].to_numpy().astype(np.float64)
        log_p = np.log((count + 1) / (count[FIRST:] + 1).sum()) if len(count) > FIRST else np.zeros(len(count))
        log_p[:FIRST] = NEVER
        empty = np.zeros((len(table), 0), np.float16)
        # mapped, since it is the largest column by far; "c", since torch takes only what it may write to
        text = np.load(dataset / "text_vectors.npy", mmap_mode="c") if spec.text_dim else empty
        fits = text.shape == (spec.num_items, spec.text_dim)
        require(
            fits,
            f"{dataset}/text_vectors.npy has shape {text.shape}, not {(spec.num_items, spec.text_dim)}: prepare again",
        )
        return cls(
            id_hash=_known(_hashes(table["item_id"], id_buckets, num_hashes), count),
            categorical=_stack(table, list(spec.item_categorical), torch.int64),
            numeric=_stack(table, spec.item_numeric, torch.float32),
            text=torch.from_numpy(text.astype(np.float16, copy=False)),
            log_p=torch.from_numpy(log_p).float(),
        )


@dataclass(frozen=True, slots=True)
class UserTable(_Columns):
    """Users by vocabulary index; row 0 is padding, row 1 an unknown user."""

    hash: Tensor  # [U] int64; 0 for padding and unknown
    categorical: Tensor  # [U, C] int64
    numeric: Tensor  # [U, F] float32

    @classmethod
    def load(cls, dataset: Path, spec: DatasetSpec, id_buckets: int) -> UserTable:
        """From a prepared dataset; `id_buckets` 0 gives no hashes. Raises ValueError as Catalogue.load does."""
        table = _table(dataset / "users.parquet", spec.num_users)
        hashed = _hashes(table["user_id"], id_buckets, 1)[:, 0] if id_buckets else torch.zeros(len(table)).long()
        hashed[: min(FIRST, len(hashed))] = 0
        return cls(
            hash=hashed,
            categorical=_stack(table, list(spec.user_categorical), torch.int64),
            numeric=_stack(table, spec.user_numeric, torch.float32),
        )


def _table(path: Path, rows: int) -> pa.Table:
    table = pq.read_table(path)
    require(len(table) == rows, f"{path} has {len(table)} rows and the dataset's specification {rows}: prepare again")
    return table


def _hashes(ids: pa.ChunkedArray, buckets: int, num_hashes: int) -> Tensor:
    """[V, num_hashes] in [1, buckets); padding, the first row, hashes to 0."""
    require(buckets >= 2, f"id_buckets must be at least 2, got {buckets}: one is padding's")
    strings = ids.fill_null("")
    hashed = np.stack([stable_hash(strings, buckets - 1, salt) + 1 for salt in range(num_hashes)], axis=1)
    hashed[0] = 0
    return torch.from_numpy(hashed)


def _known(hashed: Tensor, train_count: np.ndarray) -> Tensor:
    """An item that training never saw has an id embedding that means nothing: content alone stands for it."""
    hashed[torch.from_numpy(train_count == 0)] = 0
    return hashed


def _stack(table: pa.Table, names: Sequence[str], dtype: torch.dtype) -> Tensor:
    if not names:
        return torch.zeros((len(table), 0), dtype=dtype)
    return torch.stack([torch.from_numpy(table[name].to_numpy().copy()).to(dtype) for name in names], dim=1)
