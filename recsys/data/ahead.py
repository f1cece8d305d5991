"""What a thread has ready before it is asked for."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

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
