"""The book as it is built: no warnings, every link and anchor leads somewhere, and each page has what a reader needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"


class Page(HTMLParser):
    """The links of a page, and what can be linked to on it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links |= {value for name in ("href", "src") if (value := given.get(name))}
        self.anchors |= {value for name in ("id", "name") if (value := given.get(name))}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built book; FASTLSTM_BOOK names one that is built already."""
    if "FASTLSTM_BOOK" in os.environ:
        return Path(os.environ["FASTLSTM_BOOK"]).resolve()
    pytest.importorskip("sphinx", reason="building the book needs what pip install 'fastlstm[docs]' brings")
    target = tmp_path_factory.mktemp("book")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-n", "-E", str(DOCS), str(target)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="session")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_links_lead_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    checked = 0
    for path, page in pages.items():
        for link in page.links:
            scheme, server, target, _, anchor = urlsplit(link)
            if scheme or server:
                continue
            there = (path.parent / unquote(target)).resolve() if target else path
            assert there.exists(), f"{path.relative_to(site)}: {link} leads nowhere"
            if anchor and there.suffix == ".html":
                assert unquote(anchor) in pages[there].anchors, f"{path.relative_to(site)}: {link} has no such anchor"
            checked += 1
    assert checked > 1000


def test_every_page_is_there(pages: dict[Path, Page], site: Path) -> None:
    built = {path.relative_to(site).with_suffix("") for path in pages}
    assert {page.relative_to(DOCS).with_suffix("") for page in DOCS.rglob("*.md")} <= built


def test_what_a_reader_needs(site: Path) -> None:
    """A search field, a switch between light and dark, a viewport for phones, and the way to every other page."""
    text = (site / "tutorials" / "first-model.html").read_text(encoding="utf-8")
    assert 'name="viewport"' in text
    assert 'role="search"' in text
    assert "theme-toggle" in text
    for page in DOCS.rglob("*.md"):
        link = os.path.relpath(page.with_suffix(".html"), DOCS / "tutorials")
        assert f'href="{link}"' in text or page.name == "first-model.md", link


def test_nothing_comes_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    """No script, font or picture of another server: the book can be read without a network."""
    for path in pages:
        for tag in re.findall(r"<(?:script|img|link)\b[^>]*>", path.read_text(encoding="utf-8")):
            assert not re.search(r'(?:src|href)="(?:https?:)?//', tag), f"{path.relative_to(site)}: {tag}"


def test_the_search_knows_the_pages(site: Path) -> None:
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert {"tutorials/service", "keras-generations", "reference"} <= set(index["docnames"])
    number = index["docnames"].index("keras-generations")
    found = [index[where].get("theano", []) for where in ("terms", "titleterms")]
    assert number in [page for each in found for page in (each if isinstance(each, list) else [each])]


def test_the_reference_is_rendered(site: Path) -> None:
    text = (site / "reference.html").read_text(encoding="utf-8")
    for anchor in ("fastlstm.load", "fastlstm.Model.predict", "fastlstm.Stream.step", "fastlstm.InputError"):
        assert f'id="{anchor}"' in text
    assert "Parameters" in text and "custom_activations" in text


def test_the_changelog_is_on_its_page(site: Path) -> None:
    assert "0.2.0" in (site / "changelog.html").read_text(encoding="utf-8")
    assert "0.2.0" not in (DOCS / "changelog.md").read_text(encoding="utf-8")
