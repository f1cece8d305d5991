"""What was trained once in a process needn't be trained again: arms that stand on the same teacher share it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from recsys.fingerprint import fingerprint_of
from recsys.train.fit import Fitted

KEPT = 64


class Memo:
    """Fitted models by all that they depend on: values, the bits of tensors, the seed. Users don't change the models."""

    def __init__(self, kept: int = KEPT) -> None:
        self.kept = kept
        self._held: OrderedDict[str, Fitted] = OrderedDict()

    def __call__(self, values: Iterable[Any], tensors: Iterable[Tensor], make: Callable[[], Fitted]) -> Fitted:
        key = fingerprint_of(list(values), [digest(held) for held in tensors])
        if key not in self._held:
            self._held[key] = make()
            while len(self._held) > self.kept:
                self._held.popitem(last=False)
        self._held.move_to_end(key)
        return self._held[key]


def digest(held: Tensor) -> str:
    """Equal for equal bits, shapes and types."""
    bits = hashlib.sha256(held.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
    return f"{held.dtype} {tuple(held.shape)} {bits}"
