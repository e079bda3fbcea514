"""A model as notebooks show it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import graph_files

import fastlstm
from fastlstm import demo
from fastlstm.drawing.notebook import MOST_ROWS

EMPTY = {"br"}


class Table(HTMLParser):
    """Collects cells by row, and holds that each element is closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in EMPTY:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def read(page: str) -> list[list[str]]:
    table = Table()
    table.feed(page)
    assert not table.open
    return table.rows


def test_all_that_a_model_is() -> None:
    model = fastlstm.load(demo.MODEL, threads=2)
    rows = read(model._repr_html_())
    facts = {row[0]: row[1] for row in rows if len(row) == 2}
    assert facts["saved by"] == str(model.generation)
    assert facts["parameters"] == f"{model.count_params():,}"
    assert facts["input"] == "months (any, any, 1) float32"
    assert facts["output"] == "dense (any, 12) float32"
    assert facts["computes"].startswith("float32, 2 threads, kernels of level ")
    listed = [row for row in rows if len(row) == 5]
    assert listed[0] == ["Layer", "Class", "Output shape", "Parameters", "Runs"]
    assert listed[2] == ["lstm", "LSTM", "(any, any, 32)", "4,352", "■ native"]
    assert len(listed) == 1 + len(model.layers)


def test_colours_come_from_the_notebook() -> None:
    """But for the squares, which show on light and on dark, and lines that are half transparent."""
    page = fastlstm.load(demo.MODEL)._repr_html_()
    assert "<style" not in page
    without_squares = page.replace('<span style="color:#2f81f7">', "").replace('<span style="color:#b1bac4">', "")
    assert "color:#" not in without_squares
    assert "background:#" not in page


def test_long_models_are_cut(tmp_path: Path) -> None:
    names = ["x", *(f"layer_{number}" for number in range(MOST_ROWS + 9))]
    config = graph_files.graph({name: [before] if before else [] for before, name in zip(["", *names], names)}, [names[-1]])
    page = fastlstm.load(graph_files.save(tmp_path / "m.h5", config))._repr_html_()
    assert sum(len(row) == 5 for row in read(page)) == 1 + MOST_ROWS
    assert "and 10 more layers: <code>model.summary()</code>" in page
