"""Run the Python of a page of the book, from top to bottom, as a reader would type it.

    python tools/run_page.py docs/tutorials/forecasting.md           in a folder that is removed afterwards
    python tools/run_page.py docs/tutorials/forecasting.md --here    in the current folder, where files of these names are overwritten
    python tools/run_page.py docs/tutorials/text-classifier.md --keras    what needs Keras as well, which trains its model

A comment before a block says what it is: ``<!-- keras -->`` needs Keras, ``<!-- prints -->`` is what the block before it prints,
``<!-- file: NAME -->`` is a file to save, ``<!-- example: NAME -->`` is found by its name, ``<!-- engine: NAME -->`` needs
another engine, and is run by tests/engines. Lines of shell that begin with ``fastlstm`` are run too, but for ``fastlstm serve``, which does
not end: tests/serving runs it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from fastlstm.cli.main import main as command_line

FENCE = re.compile(r"^(?:<!-- ([\w: .-]+?) -->\n)?```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    code: str
    mark: str  # what the comment before it says
    line: int


def blocks(page: Path) -> Iterator[Block]:
    """Every fenced block of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        mark, language, code = found.groups()
        yield Block(language, code, mark or "", text.count("\n", 0, found.start(3)))


def run(page: Path, keras: bool = False) -> dict[str, Any]:
    """Run a page in the current folder; the names that it defines.

    Raises
    ------
    AssertionError
        If something else is printed than the page says.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    for block in blocks(page):
        if block.mark.startswith("file: "):
            Path(block.mark.removeprefix("file: ")).write_text(block.code, encoding="utf-8")
        elif block.mark == "prints":
            assert printed == block.code, f"{page.name}, line {block.line}: expected\n{block.code}\nfound\n{printed}"
        elif not block.mark.startswith("engine: ") and (block.mark != "keras" or keras):
            printed = run_block(block, page, names)
    return names


def run_block(block: Block, page: Path, names: dict[str, Any]) -> str:
    """Run one block; what it printed."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if block.language == "python":
            exec(compile("\n" * block.line + block.code, str(page), "exec"), names)  # noqa: S102 - a page of our own
        elif block.language == "sh":
            for line in block.code.splitlines():
                if line.startswith("fastlstm ") and not line.startswith("fastlstm serve "):
                    code = command_line(shlex.split(line, comments=True)[1:])
                    assert code == 0, f"{page.name}, line {block.line}: {line} ended with {code}"
    return out.getvalue()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--keras", action="store_true", help="run what needs Keras, too")
    parser.add_argument("--here", action="store_true", help="leave its files and pictures in the current folder; overwrites")
    arguments = parser.parse_args()
    page = arguments.page.resolve()
    if arguments.here:
        run(page, arguments.keras)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        run(page, arguments.keras)
    print(f"{page.name}: ran as it stands")


if __name__ == "__main__":
    main()
