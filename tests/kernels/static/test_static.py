"""Cases describe their kernels fully, and each bar that is missed is named with its figure."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.kernels_static import VERSIONS, cases_of, misses, run_cases
from kernels.static import Bars, StaticCase

ROOT = Path(__file__).resolve().parents[3]
KERNEL = SimpleNamespace(arg_names=["x", "D", "ids", "BM"], __name__="trial")
CASE = StaticCase(
    name="trial-d64",
    kernel=KERNEL,
    signature={"x": "*bf16", "D": "i32"},
    constants={"ids": None, "BM": 64},
    warps=4,
    stages=2,
    divisible=("D",),
    logits=64 * 64,
    bars=Bars(per_lane=8.0),
)
GOOD = {"arch": 90, "stack": 0, "shared": 65_536, "per_lane": 7.5, "HGMMA": 4}


def test_types_and_attributes_follow_the_kernels_own_order() -> None:
    assert list(CASE.types().items()) == [("x", "*bf16"), ("D", "i32"), ("ids", "constexpr"), ("BM", "constexpr")]
    assert CASE.attributes() == {(0,): [["tt.divisibility", 16]], (1,): [["tt.divisibility", 16]]}


@pytest.mark.parametrize("signature", [{"x": "*bf16"}, {"x": "*bf16", "D": "i32", "y": "i32"}])
def test_a_case_that_forgets_or_invents_an_argument_is_refused(signature: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="once"):
        replace(CASE, signature=signature)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, []),
        ({"stack": 8}, ["8 B of stack"]),
        ({"LDL": 1, "STL": 2}, ["3 local loads"]),
        ({"HGMMA": 0, "HMMA": 8}, ["no HGMMA"]),
        ({"shared": 232_449}, ["232449 B of shared"]),
        ({"per_lane": 8.01}, ["8.01 instructions"]),
        ({"per_lane": None}, ["None instructions"]),
        ({"arch": 80, "HGMMA": 0, "HMMA": 8, "per_lane": 20.0}, []),
        ({"arch": 80, "HMMA": 8, "shared": 170_000}, ["170000 B of shared"]),
        ({"arch": 100, "HGMMA": 0, "UTCMMA": 2}, []),
        ({"error": "PTXASError"}, ["doesn't compile: PTXASError"]),
    ],
)
def test_each_bar_can_be_missed(change: dict[str, Any], told: list[str]) -> None:
    found = misses(CASE, GOOD | change)
    assert len(found) == len(told)
    for miss, start in zip(found, told, strict=True):
        assert miss.startswith(start)


def test_the_files_are_the_list_and_names_are_unique() -> None:
    names = [f"{op}/{case.name}" for op, case in cases_of(ROOT / "kernels")]
    assert {name.split("/")[0] for name in names} == {
        path.parent.name for path in (ROOT / "kernels").glob("*/static.py")
    }
    assert len(set(names)) == len(names)


def test_make_installs_every_triton_that_the_lock_does_not() -> None:
    told = re.search(r"^TRITONS := (.*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    locked = re.search(r"triton==([\d.]+)", (ROOT / "pyproject.toml").read_text())
    assert told
    assert locked
    assert {*told[1].split(), locked[1]} == set(VERSIONS)


def test_a_case_is_compiled_in_a_process_of_its_own_and_one_that_is_not_is_a_miss() -> None:
    name, case = "bag/join-d64", next(case for op, case in cases_of(ROOT / "kernels") if case.name == "join-d64")
    rows = run_cases({name: case, "bag/nowhere": case}, metadata.version("triton"), 90, [name, "bag/nowhere"])
    assert rows[0]["registers"] > 16
    assert rows[0]["misses"] == []
    assert rows[1]["misses"] == ["doesn't compile: exit status 0: "]


def test_a_triton_that_is_not_there_says_how_to_get_it() -> None:
    with pytest.raises(SystemExit, match="make kernels"):
        run_cases({}, "0.0.1", 90, [])
