from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.spec import FIRST, UNKNOWN
from recsys.data.vocabulary import SCHEMA, Vocabulary

words = st.text(alphabet="abcXé0 ", max_size=3)


@given(train=st.lists(st.none() | words), table=st.lists(st.none() | words), later=st.lists(words))
@settings(max_examples=60, deadline=None)
def test_indices_follow_train_count_then_value(
    train: list[str | None], table: list[str | None], later: list[str]
) -> None:
    counts = Counter(held for held in train if held is not None)
    everything = {held for held in (*train, *table, *later) if held is not None}
    expected = sorted(everything, key=lambda held: (-counts[held], held.encode()))
    strings = [pa.array(held, pa.string()) for held in (train, table, later)]
    vocabulary = Vocabulary.build("item", strings[0], strings[1:])
    assert vocabulary.values.to_pylist() == expected
    assert vocabulary.counts.tolist() == [counts[held] for held in expected]
    assert len(vocabulary) == FIRST + len(expected)


@given(train=st.lists(words, min_size=1), asked=st.lists(st.none() | words))
@settings(max_examples=60, deadline=None)
def test_decode_is_the_inverse_of_encode_and_the_unheard_of_is_unknown(
    train: list[str], asked: list[str | None]
) -> None:
    vocabulary = Vocabulary.build("item", pa.array(train))
    codes = vocabulary.encode(pa.chunked_array([pa.array(asked, pa.string())]))
    assert codes.dtype == np.int32
    known = [held if held in train else None for held in asked]
    assert vocabulary.decode(codes) == known
    assert [code == UNKNOWN for code in codes] == [held is None for held in known]


def test_numbers_are_encoded_by_their_text() -> None:
    vocabulary = Vocabulary.build("context.position", pa.array([7, 7, 3], pa.int64()))
    assert vocabulary.encode(pa.array([3, 7, 8], pa.int64())).tolist() == [3, 2, 1]


def test_an_empty_column_knows_nothing() -> None:
    vocabulary = Vocabulary.build("context.surface", pa.array([], pa.string()))
    assert len(vocabulary) == FIRST
    assert vocabulary.encode(pa.array(["x", None])).tolist() == [UNKNOWN, UNKNOWN]
    assert vocabulary.decode(np.array([0, 1])) == [None, None]


def test_rows_of_the_table_say_value_index_and_count() -> None:
    table = Vocabulary.build("item.brand", pa.array(["b", "a", "b"]), [pa.array(["c"])]).table()
    assert table.schema == SCHEMA
    assert table.to_pylist() == [
        {"column": "item.brand", "value": "b", "index": 2, "count": 2},
        {"column": "item.brand", "value": "a", "index": 3, "count": 1},
        {"column": "item.brand", "value": "c", "index": 4, "count": 0},
    ]
