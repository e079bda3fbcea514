"""docs/tutorials/custom-layers.md: its program runs, its commands work, and its tables say what the code takes."""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_configs import chain, write_h5

import fastlstm
from fastlstm.cli.main import main

PAGE = (Path(__file__).parents[2] / "docs" / "tutorials" / "custom-layers.md").read_text(encoding="utf-8")
START = {"batch_input_shape": [None, None, 3]}
X = np.random.default_rng(1).normal(size=(2, 6, 3)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the page loads."""
    rng = np.random.default_rng(0)

    def save(name: str, layer: str, config: dict[str, Any], *shapes: tuple[int, ...]) -> None:
        arrays = {config["name"]: [rng.normal(size=shape).astype(np.float32) for shape in shapes]} if shapes else {}
        write_h5(tmp_path / f"{name}.h5", chain((layer, {**config, **START})), arrays, "2.10.0")

    cell = {"class_name": "mine>MinimalRNNCell", "config": {"name": "cell", "units": 4}}
    save("attention", "mine>AttentionPooling", {"name": "pooling"}, (3, 1))
    save("cell", "RNN", {"name": "rnn", "cell": cell, "return_sequences": True}, (3, 4), (4, 4))
    save("activation", "Activation", {"name": "act", "activation": "mine>wobble"})
    save("lambda", "Lambda", {"name": "last_step", "function": ["4wEAAA", None, None], "function_type": "lambda"})
    save("smoothing", "mine>Smoothing", {"name": "smoothing"}, (3, 2))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_program_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    shapes = []
    for code in re.findall(r"^```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE):
        names.pop("y", None)
        exec(compile(code, "custom-layers.md", "exec"), names)
        shapes += [names["y"].shape] if "y" in names else []
    assert shapes == [(2, 3), (2, 20, 4), (2, 20, 3), (2, 3), (2, 20, 4), (1, 2), (2, 3)]
    told = capsys.readouterr().out
    for comment in re.findall(r"print\(error\)  # \.\.\. (.*)", PAGE):
        assert comment in told
    assert "verified" in told
    for name in ("scale", "smoothing", "counting_cell"):
        assert names[name].__fastlstm_supports__ is not None


def test_what_it_computes(folder: Path) -> None:
    """The cell is Keras's SimpleRNN without a bias; the stream of the page's layer gives what predict gives."""
    names: dict[str, Any] = {}
    for code in re.findall(r"^```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE):
        exec(compile(code, "custom-layers.md", "exec"), names)
    model = fastlstm.load("cell.h5", custom_layers={"MinimalRNNCell": names["minimal_cell"]})
    kernel, recurrent = model.spec.layers[1].children[0].weights
    h, expected = np.zeros((2, 4)), []
    for t in range(6):
        h = np.tanh(X[:, t] @ kernel + h @ recurrent)
        expected.append(h)
    np.testing.assert_allclose(model.predict(X), np.stack(expected, 1), rtol=1e-5, atol=1e-6)
    model = fastlstm.load("smoothing.h5", custom_layers={"Smoothing": names["smoothing"]})
    stream = model.stream(2)
    np.testing.assert_allclose(np.stack([stream.step(X[:, t]) for t in range(6)], 1), model.predict(X), rtol=1e-5, atol=1e-6)


def test_its_commands_work(folder: Path) -> None:
    found = re.search(r"<!-- example: my_layers.py -->\n```\n(.*?)```\n\n```sh\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    (folder / "my_layers.py").write_text(found[1], encoding="utf-8")
    before = list(sys.path)
    try:
        for line in found[2].splitlines():
            assert main(shlex.split(line)[1:]) == 0
    finally:
        sys.path[:] = before
        sys.modules.pop("fastlstm_custom", None)


def test_its_tables_say_what_the_code_takes() -> None:
    section = PAGE.split("\n## What it may say of itself\n")[1].split("\n## ")[0]
    said = set(re.findall(r"^\| `(\w+)", section, re.MULTILINE))
    assert said == set(inspect.signature(fastlstm.supports).parameters)
    given = PAGE.split("\n## What a function is given\n")[1].split("\n## ")[0]
    for name in re.findall(r"^\| `(\w+)` \|", given, re.MULTILINE):
        assert name in (fastlstm.load.__doc__ or ""), name
