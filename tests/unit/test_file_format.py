"""docs/file-format.md: its reader reads what fastlstm writes, and it describes every key, rule and value that a file may have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import h5_files
import numpy as np
import pytest
from keras_configs import chain, entrance, functional, layer, write_h5

import fastlstm
from fastlstm.formats import own
from fastlstm.spec import Generation, Rules

PAGE = (Path(__file__).parents[2] / "docs" / "file-format.md").read_text(encoding="utf-8")


def reader() -> dict[str, Any]:
    """The names that the page's example defines."""
    found = re.search(r"<!-- example: reader -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    assert found
    assert "fastlstm import" not in found[1] and "import fastlstm" not in found[1]
    namespace: dict[str, Any] = {"__name__": "reader"}
    exec(compile(found[1], "file-format.md", "exec"), namespace)
    return namespace


def table(heading: str) -> dict[str, list[str]]:
    """The rows of a section's tables, by their first cell."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if line.startswith("| `")]
    return {row[0].strip("`"): row[1:] for row in rows}


def header(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    container = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(container["__metadata__"]["fastlstm"])


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """LSTM on (any, 3), Dense."""
    rng = np.random.default_rng(0)
    layers = [h5_files.recurrent("LSTM", 4, 3, rng, return_sequences=False), h5_files.dense(2, 4, rng, "relu")]
    fastlstm.convert(h5_files.save(tmp_path / "m.h5", layers, (None, 3)), tmp_path / "m.fastlstm")
    return tmp_path / "m.fastlstm"


def test_the_reader_reads_it(converted: Path) -> None:
    worst = reader()["worst_difference"]
    assert 0 < worst(converted) <= 1


def test_the_reader_notices_other_weights(converted: Path) -> None:
    """So that its finding nothing means something."""
    data = bytearray(converted.read_bytes())
    container = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    at = 8 + int.from_bytes(data[:8], "little") + container["lstm_1:0"]["data_offsets"][0]
    data[at : at + 4] = np.float32(3).tobytes()
    converted.write_bytes(data)
    assert reader()["worst_difference"](converted) > 100


def keys_of(value: Any) -> Iterator[str]:
    """Every key of a header that the format itself gives: none of configs, call arguments and names of arrays."""
    for key, inner in value.items():
        yield key
        if key in ("config", "keywords", "sha256"):
            continue
        if key == "functions":
            yield from inner
            continue
        for one in inner if isinstance(inner, list) else [inner]:
            if isinstance(one, dict):
                yield from keys_of(one)


def test_every_key_stands_on_the_page(converted: Path, tmp_path: Path) -> None:
    described = {
        key
        for part in (
            "The header",
            "A model",
            "Functions",
            "Loss and metrics",
            "A layer",
            "A call",
            "Values",
            "Generation and rules",
            "Cases",
        )
        for key in table(part)
    }
    node = [["x", 0, 0, {"initial_state": [np.zeros((2, 4)).tolist(), np.zeros((2, 4)).tolist()]}]]
    lstm = layer("LSTM", "l", [node], units=4, activation="tanh", recurrent_activation="sigmoid")
    weights = [np.zeros(shape, np.float32) for shape in ((3, 16), (4, 16), (16,))]
    start = entrance("x", 5, 3)
    start["config"]["batch_input_shape"][0] = 2
    source = write_h5(
        tmp_path / "fixed.h5", functional([start, lstm], [["x", 0, 0]], [["l", 0, 0]], "Functional"), {"l": weights}, "2.10.0"
    )
    fastlstm.convert(source, tmp_path / "fixed.fastlstm")
    own = chain(("mine>Own", {"name": "own", "batch_input_shape": [None, 5, 3]}))
    fastlstm.convert(write_h5(tmp_path / "own.h5", own, {}, "2.10.0"), tmp_path / "own.fastlstm", custom_layers={"Own": np.negative})
    assert header(tmp_path / "own.fastlstm")["model"]["functions"]
    for path in (converted, tmp_path / "fixed.fastlstm", tmp_path / "own.fastlstm"):
        found = set(keys_of(header(path)))
        assert found - described == set(), path
    assert '"$tuple"' in json.dumps(header(tmp_path / "fixed.fastlstm")) and '"$tensor"' in json.dumps(header(tmp_path / "fixed.fastlstm"))
    for word in ("$ref", "$tensor", "$tuple", "$dict"):
        assert f'`{{"{word}": ' in PAGE


def test_every_rule_with_its_values() -> None:
    """The default comes first."""
    rows, hints = table("Generation and rules"), get_type_hints(Rules)
    for rule in fields(Rules):
        said = [json.loads(value.strip("`")) for value in rows[rule.name][0].split(", ")]
        hint = hints[rule.name]
        values = set(get_args(hint)) if get_origin(hint) is Literal else {True, False} | ({None} if type(None) in get_args(hint) else set())
        assert said[0] == rule.default, rule.name
        assert set(said) == values, rule.name
    assert {one.name for one in fields(Generation)} | {one.name for one in fields(Rules)} == set(rows)


def test_every_version() -> None:
    versions = re.findall(r"^\| (\d+) \| ", PAGE.split("\n## Versions\n")[1], re.MULTILINE)
    assert list(map(int, versions)) == list(range(own.VERSION, 0, -1))
