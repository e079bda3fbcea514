"""Pictures of models: well-formed, legible, of everything that the model has and nothing else."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import graph_files
import h5_files
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastlstm
from fastlstm import demo
from fastlstm.cli.main import main
from fastlstm.drawing import text
from fastlstm.drawing.bars import Bar, chart, is_logarithmic, lengths
from fastlstm.drawing.columns import in_columns
from fastlstm.drawing.layered import Layout, Size, lay_out, rising

SVG = "{http://www.w3.org/2000/svg}"


def tooltips(picture: str) -> list[str]:
    """What each box says when a pointer rests on it: path, class, shape, parameters, how it runs."""
    return [node.text or "" for node in ElementTree.fromstring(picture).iterfind(f".//{SVG}g/{SVG}title")]


def texts(picture: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def test_a_chain_is_drawn() -> None:
    model = fastlstm.load(demo.MODEL)
    picture = model.plot()
    assert tooltips(picture) == [
        "months, InputLayer, (any, any, 1), 0 parameters, input",
        "lstm, LSTM, (any, any, 32), 4,352 parameters, in kernels",
        "lstm_1, LSTM, (any, 32), 8,320 parameters, in kernels",
        "dense, Dense, (any, 12), 396 parameters, in kernels",
    ]
    assert texts(picture)[:2] == ["sunspots", str(model.generation)]
    assert texts(picture)[-2:] == ["input", "in kernels"]  # the legend has what the picture has
    assert picture.count('class="fl-head"') == 3
    assert picture == model.plot()


def test_files_are_written(tmp_path: Path) -> None:
    model = fastlstm.load(demo.MODEL)
    assert model.plot(tmp_path / "m.svg") is None
    assert (tmp_path / "m.svg").read_text(encoding="utf-8") == model.plot()
    with pytest.raises(fastlstm.InputError, match=r"path: expected a file ending in \.svg, found '.*m\.png'"):
        model.plot(tmp_path / "m.png")
    with pytest.raises(fastlstm.InputError, match="there is no folder"):
        model.plot(tmp_path / "nowhere" / "m.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["m.svg"]


def test_wrappers_and_functions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    inner = h5_files.recurrent("GRU", 4, 3, rng, return_sequences=True)
    odd = h5_files.Layer({"class_name": "Oddity", "config": {"name": "odd", "trainable": True}}, [])
    path = h5_files.save(tmp_path / "m.h5", [h5_files.bidirectional(inner, inner.weights), h5_files.dropout(), odd], (5, 3))
    model = fastlstm.load(path, custom_layers={"odd": lambda x: x * 2})
    assert model.layers[-1].runs == "your function"
    found = tooltips(model.plot())
    assert any("Bidirectional(GRU), (any, 5, 8)" in tip for tip in found)
    assert found[-1].endswith("your function")
    assert any(tip.endswith("nothing to compute") for tip in found)


def test_what_cannot_be_computed_is_drawn_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    odd = h5_files.Layer({"class_name": "Oddity", "config": {"name": "odd", "trainable": True}}, [])
    path = h5_files.save(tmp_path / "m.h5", [h5_files.recurrent("LSTM", 4, 3, rng), odd], (5, 3))
    assert main(["inspect", str(path), "--svg", str(tmp_path / "m.svg")]) == 1
    assert "cannot be computed" in capsys.readouterr().out
    assert tooltips((tmp_path / "m.svg").read_text())[-1] == "odd, Oddity, ?, 0 parameters, not supported"


def test_names_of_strangers_are_text(tmp_path: Path) -> None:
    """Nothing that a file says becomes markup, a control character or what turns the direction of text."""
    name = '</text><script>alert("x")</script>&\x1b[2J\u202e\x01'
    model = fastlstm.load(graph_files.save(tmp_path / "m.h5", graph_files.graph({"x": [], name: ["x"]}, [name])))
    picture, page = model.plot(), model._repr_html_()
    shown = '</text><script>alert("x")</script>&\\x1b[2J\\u202e\\x01'
    assert any(tip.startswith(shown) for tip in tooltips(picture))
    for markup in (picture, page):
        assert "<script" not in markup
        assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e]", markup)
    ElementTree.fromstring(f"<page>{page.replace('<br>', '<br/>')}</page>")


def test_nested_models_stand_in_frames(tmp_path: Path) -> None:
    tower = graph_files.graph({"x": [], "inside": ["x"]}, ["inside"])
    config = graph_files.graph({"a": [], "b": [], "tower": ["a"], "sum": ["tower", "b"]}, ["sum"], tower=tower)
    (use,) = (layer for layer in config["config"]["layers"] if layer["name"] == "tower")
    use["inbound_nodes"] += graph_files.nodes("b")  # used twice
    config["config"]["layers"][-1]["inbound_nodes"] = [[["tower", 0, 0, {}], ["tower", 1, 0, {}]]]
    picture = fastlstm.load(graph_files.save(tmp_path / "m.h5", config)).plot()
    assert picture.count('class="fl-frame"') == 1  # opened once, however often it is used
    found = tooltips(picture)
    assert sum(tip.startswith("tower/inside,") for tip in found) == 1
    assert "tower (use 2 of 2)" in texts(picture)
    assert any(shown.startswith("tower (use 1 of 2)") for shown in texts(picture))


def test_two_hundred_layers_fit_on_a_page(tmp_path: Path) -> None:
    names = ["x", *(f"layer_{number}" for number in range(200))]
    config = graph_files.graph({name: [before] if before else [] for before, name in zip(["", *names], names)}, [names[-1]])
    picture = fastlstm.load(graph_files.save(tmp_path / "m.h5", config)).plot()
    assert len(tooltips(picture)) == 201
    root = ElementTree.fromstring(picture)
    assert 0.5 < float(root.get("width", 0)) / float(root.get("height", 0)) < 2.5


def test_what_nobody_could_follow_is_refused(tmp_path: Path) -> None:
    names = ["x", *(f"layer_{number}" for number in range(2100))]
    config = graph_files.graph({name: [before] if before else [] for before, name in zip(["", *names], names)}, [names[-1]])
    model = fastlstm.load(graph_files.save(tmp_path / "m.h5", config))
    with pytest.raises(fastlstm.InputError, match=r"plot: expected a model of up to 2,000 layers .* with inputs= and outputs="):
        model.plot()
    part = fastlstm.load(tmp_path / "m.h5", outputs="layer_1000").plot()  # as the message says
    assert len(tooltips(part)) == 1002
    tangle = {name: names[max(0, number - 60) : number : 3] for number, name in enumerate(names[:600])}
    with pytest.raises(fastlstm.InputError, match="plot: expected a model"):
        fastlstm.load(graph_files.save(tmp_path / "t.h5", graph_files.graph(tangle, [names[599]]))).plot()


# -- where things stand ---------------------------------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Size], list[tuple[int, int]]]:
    count = draw(st.integers(1, 14))
    sizes = [Size(draw(st.integers(30, 300)), draw(st.integers(20, 200))) for _ in range(count)]
    pairs = [(source, target) for target in range(count) for source in range(target)]
    lines = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=25)) if pairs else []
    return sizes, lines


def boxes_of(layout: Layout, sizes: list[Size]) -> list[tuple[float, float, float, float]]:
    return [(x - size.width / 2, y, x + size.width / 2, y + size.height) for (x, y), size in zip(layout.boxes, sizes)]


@given(graphs())
def test_boxes_stand_apart_and_lines_lead_down(drawn: tuple[list[Size], list[tuple[int, int]]]) -> None:
    sizes, lines = drawn
    layout = lay_out(sizes, lines)
    boxes = boxes_of(layout, sizes)
    for one, other in itertools.combinations(boxes, 2):
        assert one[2] < other[0] + 1e-6 or other[2] < one[0] + 1e-6 or one[3] < other[1] or other[3] < one[1]
    for left, top, right, bottom in boxes:
        assert left > -1e-6
        assert top > -1e-6
        assert right < layout.size.width + 1e-6
        assert bottom < layout.size.height + 1e-6
    for (source, target), route in zip(lines, layout.routes):
        assert (route.source, route.target) == (source, target)
        assert layout.layers[source] < layout.layers[target]
        assert len(route.passing) == layout.layers[target] - layout.layers[source] - 1
        for x, top, bottom in route.passing:  # past the boxes, not through them
            assert not any(left < x < right and y < bottom and top < low for left, y, right, low in boxes)


@given(graphs())
def test_columns_keep_everything_on_the_paper(drawn: tuple[list[Size], list[tuple[int, int]]]) -> None:
    sizes, lines = drawn
    layout = lay_out(sizes, lines)
    columns = in_columns(layout, sizes)
    moved = []
    for (left, top, right, bottom), rank in zip(boxes_of(layout, sizes), layout.layers):
        across, down = columns.shifts[rank]
        moved.append((left + across, top + down, right + across, bottom + down))
    for one, other in itertools.combinations(moved, 2):
        assert one[2] < other[0] + 1e-6 or other[2] < one[0] + 1e-6 or one[3] < other[1] or other[3] < one[1]
    assert all(left > -1e-6 and top > -1e-6 for left, top, _, _ in moved)
    assert max(right for _, _, right, _ in moved) < columns.size.width + 1e-6
    assert max(bottom for *_, bottom in moved) < columns.size.height + 1e-6


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(0.1, 9)), min_size=1, max_size=8))
def test_the_closest_sequence_that_never_falls(pairs: list[tuple[float, float]]) -> None:
    """Against the formula by minima and maxima of means, which is another way to the same thing."""
    values, weights = zip(*pairs)

    def mean(first: int, last: int) -> float:
        return float(np.average(values[first : last + 1], weights=weights[first : last + 1]))

    count = len(values)
    expected = [max(min(mean(first, last) for last in range(place, count)) for first in range(place + 1)) for place in range(count)]
    np.testing.assert_allclose(rising(values, weights), expected, atol=1e-9)


def test_crossings_are_avoided() -> None:
    """Two towers whose boxes alternate in the file."""
    sizes = [Size(50, 20)] * 8
    layout = lay_out(sizes, [(0, 3), (1, 2), (2, 4), (3, 5), (4, 7), (5, 6)])
    sides = [layout.boxes[number][0] < layout.size.width / 2 for number in range(8)]
    assert sides[0] == sides[3] == sides[5] == sides[6]
    assert sides[1] == sides[2] == sides[4] == sides[7] != sides[0]


# -- text and bars --------------------------------------------------------------------------------------------------------


@given(st.text(max_size=80), st.floats(8, 20), st.floats(60, 400))
def test_text_is_cut_to_its_room(given_text: str, size: float, room: float) -> None:
    found = text.cut(given_text, size, room)
    assert text.width(found, size) <= room or len(found) <= 5
    assert found == given_text or (found[0] == given_text[0] and found[-1] == given_text[-1] and "…" in found)


@given(st.text(max_size=40))
def test_any_text_stands_in_xml(given_text: str) -> None:
    root = ElementTree.fromstring(f'<a b="{text.escaped(given_text)}">{text.escaped(given_text)}</a>')
    assert root.text == (text.one_line(given_text) or None)
    assert root.get("b") == text.one_line(given_text)


def test_bars_have_the_lengths_of_their_values() -> None:
    close = [[Bar("a", 1.0, "1 s", True), Bar("b", 4.0, "4 s")], [Bar("a", 2.0, "2 s", True)]]
    assert not is_logarithmic(close)
    assert lengths(close) == [[0.25, 1.0], [0.5]]
    far = [[Bar("a", 1.0, ""), Bar("b", 10.0, ""), Bar("c", 100.0, "")]]
    assert is_logarithmic(far)
    (found,) = lengths(far)
    assert found[2] == 1.0
    assert found[1] - found[0] == pytest.approx(found[2] - found[1])
    assert found[0] > 0
    picture = chart("<title>", "below", [("1 row", close[0])])
    assert texts(picture) == ["<title>", "below", "1 row", "a", "1 s", "b", "4 s"]
    wide = [float(node.get("width", 0)) for node in ElementTree.fromstring(picture).iter(f"{SVG}rect")][1:]
    assert wide[1] == pytest.approx(4 * wide[0])


def test_names_do_not_move_a_terminals_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "a\x1b[31m\n\u202eb"
    path = h5_files.save(tmp_path / "m.h5", [h5_files.recurrent("LSTM", 2, 3, np.random.default_rng(0), name=name)], (None, 3))
    fastlstm.load(path).summary()
    out = capsys.readouterr().out
    assert "a\\x1b[31m\\n\\u202eb (LSTM)" in out
    assert all(mark.isprintable() for line in out.splitlines() for mark in line)


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no such device")
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_standard_output_is_the_picture_alone(h5: Path, more: list[str]) -> None:
    command = [sys.executable, "-m", "fastlstm", "describe", str(h5), "--svg", "/dev/stdout", *more]
    done = subprocess.run(command, capture_output=True, check=True, cwd=Path(fastlstm.__file__).parents[1])
    assert ElementTree.fromstring(done.stdout).tag.endswith("svg")
