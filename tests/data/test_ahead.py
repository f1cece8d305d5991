"""A thread reads ahead: the elements, their order and what goes wrong are those of the stream."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.ahead import ahead, mapped_ahead


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers()), max_size=30), st.integers(1, 5))
def test_it_is_the_stream(elements: list[int | None], num: int) -> None:
    assert list(ahead(iter(elements), num)) == elements


def test_no_more_than_that_many_wait() -> None:
    made: list[int] = []
    second = threading.Event()

    def stream() -> Iterator[int]:
        for i in range(20):
            made.append(i)
            if i == 4:
                second.set()  # one taken, three waiting, and this one in the thread's hand
            yield i

    held = ahead(stream(), 3)
    assert next(held) == 0
    assert second.wait(10)
    assert len(made) <= 5
    held.close()


def test_what_fails_fails_in_its_turn() -> None:
    def stream() -> Iterator[int]:
        yield 1
        raise OSError("the disk is gone")

    held = ahead(stream(), 4)
    assert next(held) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(held)


def test_who_stops_early_leaves_no_thread_and_closes_the_stream() -> None:
    closed = threading.Event()

    def stream() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    before = threading.active_count()
    held = ahead(stream(), 2)
    next(held)
    held.close()
    assert closed.is_set()
    assert threading.active_count() == before


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(), max_size=30), st.integers(1, 5), st.integers(1, 4))
def test_many_threads_keep_the_order(elements: list[int], num: int, threads: int) -> None:
    assert list(mapped_ahead(lambda x: 2 * x, elements, num, threads)) == [2 * x for x in elements]


def test_what_fails_in_one_of_many_threads_fails_in_its_turn() -> None:
    held = mapped_ahead(lambda x: 6 // x, [1, 2, 0, 3], 4, 2)
    assert [next(held), next(held)] == [6, 3]
    with pytest.raises(ZeroDivisionError):
        next(held)


def test_who_stops_early_leaves_no_thread_of_many() -> None:
    before, asked = threading.active_count(), []
    held = mapped_ahead(asked.append, range(1000), 3, 2)
    next(held)
    held.close()
    assert len(asked) <= 5
    assert threading.active_count() == before
