"""The figures of a listing are those that one counts by hand in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.sass import read_listing, read_resources

SAMPLE = (Path(__file__).parent / "lse_sm90.sass").read_text()  # log sum exp of 64x32 tiles, D 64, triton 3.7.1, sm_90
NESTED = """
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_0:
        /*0010*/                   LDGSTS.E.BYPASS.128 [R2], [R4.64] ;
.L_x_1:
        /*0020*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;
        /*0030*/                   STL [R1+0x8], R4 ;
        /*0040*/              @!UP0 BRA `(.L_x_1) ;
.L_x_2:
        /*0050*/                   SYNCS.PHASECHK.TRANS64 P0, [UR4], R3 ;
        /*0060*/                   IADD3 R1, R1, 0x1, RZ ;
        /*0070*/                   IADD3 R2, R1, 0x1, RZ ;
        /*0080*/              @P0  BRA `(.L_x_2) ;
        /*0090*/              @P1  BRA `(.L_x_0) ;
        /*00a0*/                   UTCHMMA gdesc[UR4], gdesc[UR6], tmem[UR8], !UPT ;
        /*00b0*/              @P2  BRA `(.L_x_3) ;
.L_x_3:
        /*00c0*/                   EXIT ;
.L_x_4:
        /*00d0*/                   BRA `(.L_x_4);
"""


def test_the_committed_sample_has_one_loop_of_120_instructions() -> None:
    listing = read_listing(SAMPLE)
    labels = [i for i, line in enumerate(SAMPLE.splitlines()) if line.startswith(".L_x_1:") or "BRA `(.L_x_1)" in line]
    loop = listing.hot_loop()
    assert loop is not None
    assert len(loop) == labels[1] - labels[0] == 120
    assert len(listing.opcodes) == SAMPLE.count("*/  ")
    assert listing.counts() == dict.fromkeys(listing.counts(), 0) | {"HGMMA": 4, "MUFU": SAMPLE.count(" MUFU.")}


def test_of_nested_loops_the_innermost_with_tensor_cores_is_hot() -> None:
    listing = read_listing(NESTED)
    loop = listing.hot_loop()
    assert [len(held) for held in listing.loops] == [3, 4, 9]
    assert loop is not None
    assert listing.opcodes[loop.start : loop.stop] == ("HMMA.16816.F32.BF16", "STL", "BRA")
    assert listing.counts() | {"HMMA": 1, "STL": 1, "LDGSTS": 1, "UTCMMA": 1, "LDL": 0} == listing.counts()


def test_without_tensor_cores_the_longest_innermost_loop_is_hot() -> None:
    listing = read_listing(NESTED.replace("HMMA", "FFMA"))
    loop = listing.hot_loop()
    assert loop is not None
    assert len(loop) == 4
    assert read_listing("        /*0000*/    EXIT ;").hot_loop() is None


def test_what_is_no_listing_is_refused() -> None:
    with pytest.raises(ValueError, match="nvdisasm"):
        read_listing("nvdisasm fatal: not a cubin")
    with pytest.raises(ValueError, match="cuobjdump"):
        read_resources("cuobjdump fatal")


def test_stack_tells_of_spills_and_local_does_not() -> None:
    text = " Function lse:\n  REG:255 STACK:304 SHARED:1024 LOCAL:0 CONSTANT[0]:584 TEXTURE:0 SURFACE:0 SAMPLER:0\n"
    assert read_resources(text) == (255, 304)
