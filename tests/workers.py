"""Several processes that talk through gloo, as tests need them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def together(work: Callable[..., None], world: int, store: str, *given: Any) -> None:
    """`work(rank, world, *given)` in `world` new processes of one group, which meet in the file `store`; it must pickle.

    A process whose work is done ends at once: threads of gloo that outlive the interpreter abort it now and then.
    """
    mp.spawn(_member, (work, world, store, given), nprocs=world)  # type: ignore[attr-defined]


def _member(rank: int, work: Callable[..., None], world: int, store: str, given: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    work(rank, world, *given)
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)
