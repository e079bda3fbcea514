"""How Sphinx builds the book: ``python -m sphinx -W -n docs build/book``.

The pages are Markdown that reads well by itself. What only the book needs is added while Sphinx reads them: the table of contents is
made of the lists in ``index.md``, and the pages on contributing, security and changes are the files at the root of the repository.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))  # so that the docstrings are those of this very tree

project = "fastlstm"
author = "The fastlstm authors"
copyright = author  # noqa: A001 - Sphinx's own name
release = re.findall(r'^__version__ = "(.*)"', (ROOT / "fastlstm" / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE)[0]
version = release

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.intersphinx"]
exclude_patterns = ["_build"]

myst_heading_anchors = 4  # the anchors that GitHub gives to headings
myst_enable_extensions = ["smartquotes"]
suppress_warnings = ["myst.header"]  # README-like pages may begin with a second-level heading

nitpicky = True
nitpick_ignore = [("py:class", "optional")]

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # parameters are described in words
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"fastlstm {release}"
html_static_path = ["_static"]
html_css_files = ["book.css"]
html_copy_source = False
html_show_sphinx = False

#: Pages of the book that are files elsewhere in the repository, where GitHub or a tool looks for them.
ROOT_PAGES = {"changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md", "security": "SECURITY.md", "results": "benchmarks/RESULTS.md"}


def led_here(text: str) -> str:
    """A root file's text with its links as they are from ``docs``."""
    text = re.sub(r"\]\(docs/", "](", text)
    for page, file in ROOT_PAGES.items():
        text = text.replace(f"]({file}", f"]({page}.md")
    return text.replace("](README.md", "](index.md")


def within(text: str, depth: int) -> str:
    """A page's text with its links to root files leading to their pages in the book."""
    up = "../" * depth
    for page, file in {**ROOT_PAGES, "index": "README.md"}.items():
        text = text.replace(f"]({up}../{file}", f"]({up}{page}.md")
    return text


def contents(text: str) -> str:
    """The table of contents: a list of pages below a heading becomes a part of the book."""
    trees = []
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        pages = re.findall(r"^- \[.*?\]\(([\w./-]+)\.md\)", within(part, 0), re.MULTILINE)
        if pages:
            trees.append("\n".join(["```{toctree}", ":hidden:", f":caption: {part.splitlines()[0]}", "", *pages, "```"]))
    return "\n\n".join(trees)


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """A page as Sphinx is to see it."""
    if docname in ROOT_PAGES:
        file = ROOT / ROOT_PAGES[docname]
        app.env.note_dependency(str(file))
        source[0] = led_here(file.read_text(encoding="utf-8"))
    else:
        source[0] = within(source[0], docname.count("/"))
    if docname == "index":
        source[0] += "\n" + contents(source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
