"""README and the pages in docs/: short enough, linked, with examples that run and commands that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5_files
import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "README.md"
DOCS = REPOSITORY / "docs"
PAGES = sorted([*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md"), *(REPOSITORY / "benchmarks").glob("*.md")])
#: A user reads it in five minutes.
README_LINES = 150


def prose(page: Path) -> str:
    """A page without what stands in fences."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Headings of a page, as GitHub links to them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) < README_LINES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(there), f"{link}: {there.name} has {sorted(anchors(there))}"


def test_index_lists_every_page() -> None:
    """Once each: its lists are the book's table of contents."""
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[.*?\]\(([\w/-]+\.md)\)", index, re.MULTILINE)
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if page.name != "index.md")


@pytest.mark.parametrize("page", [page for page in PAGES if page.is_relative_to(DOCS)], ids=lambda page: str(page.relative_to(DOCS)))
def test_pages_read_well_without_the_book(page: Path) -> None:
    """As plain Markdown: one title, and nothing that only Sphinx understands but the directives of the reference."""
    text = prose(page)
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    assert text.lstrip().startswith("# ")
    directives = re.findall(r"^```\{([\w-]+)\}", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(directives) <= ({"eval-rst"} if page.name == "reference.md" else set())


def test_readme_commands_come_first() -> None:
    """The check of everything takes its commands from there."""
    first, second, *_ = re.findall(r"```sh\n(.*)\n", README.read_text(encoding="utf-8"))
    assert first.endswith("fastlstm demo")
    assert " && .venv/bin/pytest -n auto" in second


def test_readme_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, as somebody would type them."""
    rng = np.random.default_rng(0)
    h5_files.save(tmp_path / "model.h5", [h5_files.recurrent("LSTM", 4, 3, rng), h5_files.dense(1, 4, rng)], (None, 3))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL):
        exec(code, names)
    assert names["y"].shape == (1, 1)
    assert (tmp_path / "model.fastlstm").is_file()
