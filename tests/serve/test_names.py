"""Mapped names answer as a tuple and a dict of them do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.funnel import names
from recsys.funnel.names import Places, Strings

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)


def written(held: Sequence[str | None], folder: Path, rows: int = 7) -> Path:
    pq.write_table(pa.table({"name": pa.array(held, pa.string())}), folder / "names.parquet", row_group_size=rows)
    return folder / "names.parquet"


@given(held=st.lists(st.one_of(st.none(), TEXT), unique=True, max_size=40), strange=TEXT, first=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_names_are_a_tuple_and_a_dict(held: list[str | None], strange: str, first: int) -> None:
    with TemporaryDirectory() as folder:
        strings = Strings(written(held, Path(folder)), "name")
    plain = [name or "" for name in held]
    assert list(strings) == plain
    assert [strings[at] for at in range(len(strings))] == plain
    if plain.count("") < 2:  # else they don't differ
        places = Places(strings, first)
        expected = {name: at for at, name in enumerate(plain) if at >= first}
        assert dict(places) == expected
        assert places.get(strange) == expected.get(strange)
        assert (strange in places, len(places)) == (strange in expected, len(expected))


def test_every_one_of_many_names_is_found(tmp_path: Path) -> None:
    many = [f"i{number}" for number in range(20_000)]
    places = Places(Strings(written(many, tmp_path, 3000), "name"), 2)
    assert [places[name] for name in many[2:]] == list(range(2, len(many)))
    assert not any(f"u{number}" in places for number in range(1000))


def test_names_of_equal_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "_hash", lambda data, start, stop: 7)
    monkeypatch.setattr(names, "_hash_all", lambda data, starts, hashes: hashes.fill(7))
    places = Places(Strings(written(["a", "b", "c"], tmp_path), "name"), 1)
    assert (places["b"], places["c"]) == (1, 2)
    for name in ("a", "d"):
        with pytest.raises(KeyError):
            places[name]
