"""The report and the summary say what was measured, and say so when it wasn't."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys.report.curves import smoothed
from recsys.report.figures import figures, save_pngs
from recsys.report.html import render
from recsys.report.inputs import SYSTEMS, Estimate, ReportInput
from recsys.report.style import _apart
from recsys.report.summary import KEYS, summary_of, summary_text, to_json, validate

MEANS = {
    "model": (0.3125, 0.0625),
    "retrieval": (0.1375, 0.05),
    "popular": (0.11, 0.036),
    "own_frequency": (0.29, None),
    "item_item": (0.113, 0.039),
    "ease": (0.15, 0.047),
}


def estimate(mean: float | None) -> Estimate:
    if mean is None:
        return {"mean": None, "low": None, "high": None, "users": 0}
    return {"mean": mean, "low": mean - 0.01, "high": mean + 0.01, "users": 2051}


def full() -> ReportInput:
    """One of everything."""
    step = np.arange(0, 100, 2)
    series = {"step": step, "attempt": 1 + (step > 50), "time": step * 1.0}
    learning = {
        "train": series | {"loss.retrieval": np.exp(-step / 40), "loss.purchase": np.where(step == 4, np.nan, 0.1)},
        "validation": {"step": step[::10], "recall@20": np.linspace(0.05, 0.13, 5)},
        "gradient": series
        | {"norm.retrieval": 1 + 0 * step, "norm.purchase": 0.5 + 0 * step}
        | {"cosine.retrieval.purchase": np.full(len(step), -0.25)},
    }
    bins = {"predicted": [0.01, 0.03, 0.2], "observed": [0.012, 0.02, 0.25], "weight": [1.0, 1.0, 2.0]}
    item = {
        "item_id": "7",
        "text": "BREAD & <butter>",
        "score": 0.5,
        "scores": {"purchase": 0.4},
        "bought_before": True,
    }
    return {
        "title": "Groceries",
        "run": {"id": "ab12"},
        "metrics": {
            system: {
                "recall@20": estimate(everything),
                "recall@20[never_bought]": estimate(never),
                "recall@20[tail]": estimate(0.02),
                "coverage@20": {"mean": 0.2},
            }
            for system, (everything, never) in MEANS.items()
        },
        "differences": {
            "recall@20, model - popular": {"mean": 0.2, "low": 0.18, "high": 0.22},
            "recall@20, model - own_frequency": {"mean": 0.01, "low": -0.01, "high": 0.03},
            "recall@20, model - ease": {"mean": -0.1, "low": -0.12, "high": -0.08},
            "recall@20, model - nobody": {"mean": None, "low": None, "high": None},
        },
        "notes": ["A bar was missed."],
        "learning": learning,
        "tasks": {
            "purchase": {
                "auc": {"model": estimate(0.81), "popular": estimate(0.6)},
                "rows": 900,
                "positives": 40,
                "log_loss": 0.1,
                "calibration_error": 0.004,
                "reliability": bins,
            },
            "coupon": {"auc": {"model": estimate(0.7)}},
        },
        "serving": {
            "requests": 200,
            "errors": 1,
            "total": {"p50_ms": 11.5, "p99_ms": 30.0},
            "stages": {"rank": {"p50_ms": 4.0, "p99_ms": 9.0}, "filter": {"p50_ms": 0.5}, "total": {"p50_ms": 4.6}},
        },
        "index": {"kind": "flat", "items": 4000, "dim": 64, "recall_at_100": 1.0, "facts": {"checkpoint": "cd34"}},
        "data": {
            "name": "panel",
            "counts": {"events": 1000},
            "quarantined": {"a return": 12},
            "time_range": (1483228800, 1514764800),
            "splits": {"test": 1512086400},
            "leak_checks": ["nothing from the future"],
        },
        "recommendations": [{"user": "u1", "history": ["MILK"], "items": [item], "source": "personal"}],  # type: ignore[list-item]
        "seconds": {"data": 10.0, "train": 100.5},
        "versions": {"torch": "2.13.0"},
    }


class Page(HTMLParser):
    """Tags with their attributes, ids, and visible text."""

    VOID = frozenset({"meta", "link", "br", "img", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, held in attrs:
            if name == "id":
                self.ids.append(held or "")
            if name in ("src", "href", "xlink:href"):
                self.links.append(held or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data if self.open and self.open[-1] != "style" else ""


@pytest.fixture(scope="module")
def text() -> str:
    return render(full())


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_tags_are_balanced_and_ids_unique(page: Page) -> None:
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_nothing_is_asked_of_the_network(text: str, page: Page) -> None:
    assert all(link.startswith("#") for link in page.links)
    assert set(page.links) <= {f"#{held}" for held in page.ids}
    assert not re.search(r"@import|url\((?!#)|<script|<link|<img", text)


def test_what_was_measured_is_there(page: Page) -> None:
    for word in ("0.312", "0.062", "EASE", "A bar was missed.", "BREAD & <butter>", "a return", "4,000", "11.5 ms"):
        assert word in page.words, word
    assert "not measured" not in page.words


def test_differences_are_judged_by_their_intervals(text: str) -> None:
    rows = re.findall(r"<th>recall@20, model - ([^<]+)</th>.*?tag (\w+)", text, flags=re.DOTALL)
    assert rows == [("popular", "above"), ("own frequency", "open"), ("ease", "below")]


def test_sections_without_data_say_so() -> None:
    words = Page(render({})).words
    assert words.count("not measured in this run") == 10


@pytest.mark.parametrize("name", sorted(ReportInput.__annotations__))
def test_each_part_may_be_absent_or_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.report.html.inline_svg", lambda drawn, name, title: f"<svg id='{name}'></svg>")
    report: Any = full()
    Page(render({name: report[name]}))  # type: ignore[misc]
    del report[name]
    assert Page(render(report)).open == []


def test_colours_follow_the_page_into_the_dark(text: str) -> None:
    plots = "".join(re.findall(r"<svg.*?</svg>", text, flags=re.DOTALL))
    literal = set(re.findall(r"#[0-9a-f]{6}\b", plots)) - {"#000000", "#ffffff"}
    assert literal == set()
    assert "@media (prefers-color-scheme: dark)" in text
    assert len(set(re.findall(r"--\w+: (#\w+)", text))) > 20


def test_the_page_is_the_same_every_time(text: str) -> None:
    assert render(full()) == text


def test_plots_are_saved_as_pictures(tmp_path: Path) -> None:
    report = full()
    paths = save_pngs(report, tmp_path)
    assert set(paths) == set(figures(report))
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths.values())


def test_smoothing_keeps_the_mean_of_constants_and_lines() -> None:
    assert smoothed(np.full(50, 3.0)).tolist() == [3.0] * 50
    line = np.arange(100.0)
    np.testing.assert_allclose(smoothed(line)[10:90], line[10:90])
    assert smoothed(np.array([5.0])).tolist() == [5.0]


def test_labels_are_pushed_apart_around_their_middle() -> None:
    placed = _apart([0.0, 0.0, 0.0, 5.0], 1.0)
    np.testing.assert_allclose(placed, [-1.0, 0.0, 1.0, 5.0], atol=1e-3)


def test_the_summary_has_exactly_the_promised_keys() -> None:
    summary = json.loads(to_json(summary_of(full())))
    assert tuple(summary) == KEYS
    assert summary["recall@20"] == {system: everything for system, (everything, _) in MEANS.items()}
    assert summary["recall@20[never_bought]"]["own_frequency"] is None
    assert tuple(summary["recall@20"]) == tuple(SYSTEMS)
    assert summary["intervals"]["recall@20"]["model"] == pytest.approx([0.3025, 0.3225])
    assert "own_frequency" not in summary["intervals"]["recall@20[never_bought]"]
    assert summary["auc"] == {"purchase": 0.81, "coupon": 0.7}
    assert summary["index"] == {"items": 4000, "recall@100_vs_exact": 1.0}
    assert summary["serve"] == {"requests": 200, "errors": 1, "p50_ms": 11.5, "p99_ms": 30.0}


def test_an_empty_run_has_a_summary_of_nulls() -> None:
    summary = json.loads(to_json(summary_of({})))
    assert tuple(summary) == KEYS
    assert set(summary["recall@20"].values()) == {None}
    assert summary["serve"] == {"requests": 0, "errors": 0, "p50_ms": None, "p99_ms": None}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda s: s.pop("serve"), r"missing keys \['serve'\]"),
        (lambda s: s.update(extra=1), r"unknown keys \['extra'\]"),
        (lambda s: s["recall@20"].pop("ease"), r"recall@20: missing keys \['ease'\]"),
        (lambda s: s["auc"].update(purchase=1.2), r"auc.purchase must lie in \[0, 1\] or be null, got 1.2"),
        (lambda s: s["intervals"]["recall@20"].update(model=[0.4, 0.3]), "must rise, got 0.4 to 0.3"),
    ],
)
def test_a_faulty_summary_is_refused(fault: Any, message: str) -> None:
    summary = summary_of(full())
    fault(summary)
    with pytest.raises(ValueError, match=message):
        validate(summary)


def test_the_summary_reads_well_in_a_terminal() -> None:
    text = summary_text(summary_of(full()))
    assert "model, as served" in text
    assert "0.312  (0.302 to 0.323)" in text or "0.312  (0.302 to 0.322)" in text
    assert "p50 11.5 ms, p99 30.0 ms" in text
    assert max(map(len, text.splitlines())) <= 100
    assert "None" not in summary_text(summary_of({}))
