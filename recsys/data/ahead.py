"""What a thread has ready before it is asked for."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
_END = object()


def ahead(stream: Iterator[T], num: int) -> Generator[T]:
    """The same elements in the same order, up to `num` of them made beforehand by a thread of this process.

    What the stream raises is raised here, in its turn. The thread closes the stream and ends when the consumer does.
    """
    done = threading.Event()
    ready: queue.Queue[object] = queue.Queue(num)
    failed: list[BaseException] = []

    def put(held: object) -> bool:
        while not done.is_set():
            try:
                ready.put(held, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for element in stream:
                if not put(element):
                    break
        except BaseException as error:
            failed.append(error)
        finally:
            close = getattr(stream, "close", None)
            if close is not None:
                close()
            put(_END)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while (held := ready.get()) is not _END:
            yield held  # type: ignore[misc]
        if failed:
            raise failed[0]
    finally:
        done.set()
        thread.join()


def mapped_ahead(function: Callable[[S], T], elements: Iterable[S], num: int, threads: int = 1) -> Generator[T]:
    """function of every element, in the order of the elements, up to `num` of them begun before they are asked for.

    What the function raises is raised here, in its turn. The threads end when the consumer does.
    """
    begun: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="ahead") as pool:
        try:
            for element in elements:
                begun.append(pool.submit(function, element))
                if len(begun) > num:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()
