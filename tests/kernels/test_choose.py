"""Every op chooses alike: by name, by device, and says so once."""

from __future__ import annotations

import logging

import pytest
import torch

from kernels import choose as module
from kernels.choose import choose, rows_at_once


def test_auto_says_its_choice_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_said", set())
    with caplog.at_level(logging.INFO, "kernels"):
        assert [choose("trial", "auto", (torch.ones(1), None)) for _ in range(3)] == ["chunked"] * 3
    assert [record.getMessage() for record in caplog.records] == ["trial: impl='auto' is 'chunked' on cpu"]


def test_triton_without_a_device_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERPRETED", False)
    with pytest.raises(RuntimeError, match=r"impl='chunked'.*TRITON_INTERPRET=1"):
        choose("trial", "triton", (torch.ones(1),))


def test_names_and_devices_are_checked() -> None:
    with pytest.raises(ValueError, match="got 'cuda'"):
        choose("trial", "cuda", (torch.ones(1),))
    with pytest.raises(ValueError, match="cpu, meta"):
        choose("trial", "auto", (torch.ones(1), torch.ones(1, device="meta")))


def test_rows_at_once_is_never_nothing() -> None:
    assert rows_at_once(2**30) == 1
    assert rows_at_once(0) == rows_at_once(1) == 2**19
