"""``fastlstm bench``: numbers before times, what is missing told, what does not fit refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5_files
import numpy as np
import pytest

import fastlstm
from fastlstm import selftest
from fastlstm.bench import comparison, engines, measuring
from fastlstm.bench.comparison import compare
from fastlstm.cli.benching import duration
from fastlstm.cli.main import main
from fastlstm.program import bfloat16


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "TURN_SECONDS", 0.002)
    monkeypatch.setattr(measuring, "WARM_SECONDS", 0.0)


@pytest.fixture
def open_path(tmp_path: Path) -> Path:
    """Embedding, LSTM on any number of timesteps."""
    rng = np.random.default_rng(0)
    layers = [h5_files.embedding(50, 3, rng, mask_zero=True), h5_files.recurrent("LSTM", 4, 3, rng), h5_files.dense(2, 4, rng)]
    return h5_files.save(tmp_path / "open.h5", layers, (None,))


class Other(engines.Engine):
    """An engine that computes what a function makes of fastlstm's outputs."""

    label, package = "Other", "nothing"

    def __init__(self, model: fastlstm.Model[Any], change: Any):
        super().__init__("1.0")
        self.model, self.change = model, change

    def predict(self, inputs: Any) -> Any:
        return self.change(self.model.predict(inputs[0]))


def beside(monkeypatch: pytest.MonkeyPatch, change: Any) -> None:
    monkeypatch.setattr(comparison, "_others", lambda bench, model, *_, **__: [Other(model, change)])


def test_alone(h5: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(h5), "--vs", "", "--rows", "1,3"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^1 row\n  fastlstm \S+ +\S+ [\d.e+]+ (µs|ms)\n\n3 rows\n", out, re.MULTILINE)
    assert "(rows, 5, 3); 1 thread; median of a call" in out


def test_json(open_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(open_path), "--vs", "", "--timesteps", "9", "--rows", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (result,) = found["results"]
    assert found["inputs"] == {"embedding_1_input": [None, 9]}
    assert result["engine"] == f"fastlstm {fastlstm.__version__}"
    assert result["rows"] == 2
    assert 0 < result["lowest_seconds"] <= result["seconds"] <= result["highest_seconds"] < 1
    assert result["calls"] >= measuring.ROUNDS * measuring.FEWEST


def test_a_precision_is_timed_beside_float32(open_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(fastlstm.runtime, "amx_refused", lambda: "this CPU has no AMX")
    monkeypatch.setattr(bfloat16, "LEAST_HALVES", 1)
    assert main(["bench", str(open_path), "--vs", "", "--rows", "3", "--precision", "bfloat16", "--json"]) == 0
    plain, reduced = json.loads(capsys.readouterr().out)["results"]
    assert (plain["engine"], plain["difference"]) == (f"fastlstm {fastlstm.__version__}", 0)
    assert reduced["engine"] == f"fastlstm {fastlstm.__version__} in bfloat16 weights" and 1e-6 < reduced["difference"] < 1e-1
    assert main(["bench", str(open_path), "--vs", "", "--rows", "3", "--precision", "bfloat16x3"]) == 0
    out = capsys.readouterr().out
    assert "in bfloat16" not in out and "\nfastlstm: computed in float32: this CPU has no AMX\n" in out
    assert main(["bench", str(open_path), "--vs", "", "--rows", "3", "--precision", "float64", "--json"]) == 0
    plain, double = json.loads(capsys.readouterr().out)["results"]
    assert double["engine"].endswith(" in float64") and 0 < double["difference"] < 1e-6


def test_what_a_file_says_is_timed_beside_float32_too(open_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastlstm.runtime, "amx_refused", lambda: "this CPU has no AMX")
    monkeypatch.setattr(bfloat16, "LEAST_HALVES", 1)
    fastlstm.convert(open_path, tmp_path / "halves.fastlstm", precision="bfloat16")
    plain, reduced = compare(str(tmp_path / "halves.fastlstm"), vs=[], rows=[3]).measurements
    assert plain.engine == f"fastlstm {fastlstm.__version__}"
    assert reduced.engine == f"{plain.engine} in bfloat16 weights" and reduced.difference > 1e-6


def test_numbers_come_first(h5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside(monkeypatch, lambda y: y * 1.000001)
    good = compare(str(h5), rows=[2])
    assert [one.engine.split()[0] for one in good.measurements] == ["fastlstm", "Other"]
    assert 0 < good.measurements[1].difference < 1e-5
    beside(monkeypatch, lambda y: y + 0.1)
    wrong = compare(str(h5), rows=[2])
    assert len(wrong.measurements) == 1
    assert re.match(r"2 rows: not timed, its numbers are others: output 0 differs by .* \(the file was saved by Keras 2.3.1",
                    wrong.refusals[0].reason)  # fmt: skip
    beside(monkeypatch, lambda y: y[:, :1])
    assert "its outputs have the shapes [(2, 1)], not [(2, 2)]" in compare(str(h5), rows=[2]).refusals[0].reason
    beside(monkeypatch, lambda y: y * np.nan)
    assert len(compare(str(h5), rows=[2]).measurements) == 1

    def fails(y: Any) -> Any:
        raise RuntimeError("no such kernel\nand more")

    beside(monkeypatch, fails)
    assert compare(str(h5), rows=[2]).refusals[0].reason == "2 rows: RuntimeError: no such kernel"


def test_what_is_not_installed_is_told(h5: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(engines, "chosen_keras", lambda model: None)
    monkeypatch.setattr(engines, "installed", lambda package: "")
    assert main(["bench", str(h5), "--rows", "1"]) == 0
    out = capsys.readouterr().out
    assert "Keras: not installed: pip install keras tensorflow" in out
    assert "ONNX Runtime: not installed: pip install onnxruntime" in out
    monkeypatch.setattr(engines, "installed", lambda package: "" if package == "tf2onnx" else "1.0")
    assert main(["bench", str(h5), "--rows", "1", "--vs", "onnxruntime"]) == 0
    assert "give --onnx FILE, or install what converts a Keras model: pip install tf2onnx" in capsys.readouterr().out


def test_what_does_not_fit_is_refused(h5: Path, open_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def reason(*arguments: str) -> str:
        assert main(["bench", *arguments, "--vs", ""]) == 1
        return capsys.readouterr().err

    assert "--timesteps: expected none, as the file fixes the sizes of its inputs" in reason(str(h5), "--timesteps", "9")
    rng = np.random.default_rng(0)
    fixed = h5_files.save(tmp_path / "s.h5", [h5_files.recurrent("LSTM", 4, 3, rng, stateful=True)], (5, 3), batch=6)
    assert "--rows: expected 6, as the file fixes the batch, found 2" in reason(str(fixed), "--rows", "2")
    assert main(["bench", str(fixed), "--vs", "", "--json"]) == 0
    assert [one["rows"] for one in json.loads(capsys.readouterr().out)["results"]] == [6]
    short = h5_files.save(tmp_path / "c.h5", [h5_files.convolution(4, 3, 3, rng, padding="valid")], (None, 3))
    assert "--timesteps: 2 do not fit the model" in reason(str(short), "--timesteps", "2")
    for wrong in (["--rows", "0"], ["--rows", "1,x"], ["--vs", "tensorflow"]):
        with pytest.raises(SystemExit, match="^2$"):
            main(["bench", str(h5), *wrong])


def test_whole_models_of_friends_are_compared(h5: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keras would read a stranger's file in this process."""

    def never(*_: Any) -> None:
        pytest.fail("Keras was asked")

    monkeypatch.setattr(comparison, "Keras", never)
    for reading, reason in (({"isolated": True}, "--isolated is to prevent"), ({"outputs": "lstm_1"}, "leave out --inputs and --outputs")):
        found = compare(str(h5), rows=[1], reading=reading)
        assert [one.engine for one in found.refusals] == ["keras", "onnxruntime"]
        assert all(reason in one.reason for one in found.refusals)
        assert len(found.measurements) == 1


def test_a_chart_is_drawn(h5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside(monkeypatch, lambda y: y)
    assert main(["bench", str(h5), "--rows", "1,2", "--plot", str(tmp_path / "b.svg"), "-q"]) == 0
    shown = [node.text or "" for node in ElementTree.parse(tmp_path / "b.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert shown[0] == "m.h5: time of a call"
    assert {"1 row", "2 rows", f"fastlstm {fastlstm.__version__}", "Other 1.0"} <= set(shown)


def test_example_inputs_suit_the_model(open_path: Path) -> None:
    model = fastlstm.load(open_path)
    (first,), (second,) = selftest.example_inputs(model, 33, 12, 2)
    assert first.shape == (33, 12)
    assert first.dtype == np.int32
    assert 0 < first.min() <= first.max() < 50  # 0 is masked
    assert (first != second).any()
    assert selftest.fitting_steps(model) == 100


def test_turns_are_taken() -> None:
    order: list[str] = []
    told: list[tuple[int, int]] = []
    timings = measuring.in_turns([lambda x: order.append("a"), lambda x: order.append("b")], [1, 2], lambda *how: told.append(how))
    changes = [one for one, before in zip(order, [None, *order]) if one != before]
    assert changes == ["a", "b"] * measuring.ROUNDS
    assert told == [(turn, 2 * measuring.ROUNDS) for turn in range(2 * measuring.ROUNDS)]
    assert all(timing.lowest <= timing.median <= timing.highest for timing in timings)


def test_durations() -> None:
    assert [duration(seconds) for seconds in (2.5, 0.0123, 4.56e-6)] == ["2.5 s", "12.3 ms", "4.56 µs"]
