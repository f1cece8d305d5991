"""Independent pieces of work as Ray tasks, or one after the other in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError

from recsys.cluster.start import ClusterSpec, connected

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 4  # tasks submitted for each CPU, so that none waits and no queue holds everything


def run_tasks(
    work: Callable[[Item], Result], items: Sequence[Item], spec: ClusterSpec
) -> Iterator[tuple[Item, Result | Exception]]:
    """(item, work(item)) as they finish; an item that raises yields its exception, and the others go on.

    `spec.workers` of 0 is this process; else Ray, where each item has one CPU and, when its worker dies, is tried again
    `spec.max_failures` times.
    """
    if spec.workers == 0:
        for item in items:
            yield item, _attempt(work, item)
        return
    with connected(spec):
        remote = ray.remote(num_cpus=1, max_retries=spec.max_failures)(_attempt)
        held = ray.put(work)  # once, however large, and not with every item
        waiting, running = list(reversed(items)), {}
        while waiting or running:
            room = max(1, int(ray.cluster_resources().get("CPU", 1))) * AHEAD - len(running)
            for _ in range(min(room, len(waiting))):
                item = waiting.pop()
                running[remote.remote(held, item)] = item
            done, _ = ray.wait(list(running), num_returns=1)
            for ref in done:
                yield running.pop(ref), _result(ref)


def _attempt(work: Callable[[Item], Result], item: Item) -> Result | Exception:
    try:
        return work(item)
    except Exception as error:  # told of beside its item; what others found is not lost for it
        error.__traceback__ = None
        return error


def _result(ref: ray.ObjectRef) -> Any:
    try:
        return ray.get(ref)
    except RayError as error:
        return error
