"""The command line: what it prints, where, and its exit codes."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5_files
import numpy as np
import pytest

import fastlstm
from fastlstm import demo
from fastlstm.cli import progress
from fastlstm.cli.main import convert_weights, main

FEATURES = 3


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LSTM on (any, 3), Dense(2)."""
    rng = np.random.default_rng(0)
    layers = [h5_files.recurrent("LSTM", 4, FEATURES, rng), h5_files.dense(2, 4, rng)]
    return h5_files.save(tmp_path_factory.mktemp("model") / "model.h5", layers, (None, FEATURES))


@pytest.fixture(scope="module")
def steps_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LSTM on (any, 3) with an output at every timestep."""
    rng = np.random.default_rng(0)
    layers = [h5_files.recurrent("LSTM", 4, FEATURES, rng, return_sequences=True)]
    return h5_files.save(tmp_path_factory.mktemp("steps") / "model.h5", layers, (None, FEATURES))


@pytest.fixture
def unsupported_path(tmp_path: Path) -> Path:
    """A model with two layers that nobody knows."""
    rng = np.random.default_rng(0)
    odd = [h5_files.Layer({"class_name": "Oddity", "config": {"trainable": True}}, []) for _ in range(2)]
    return h5_files.save(tmp_path / "odd.h5", [h5_files.recurrent("LSTM", 4, FEATURES, rng), *odd], (None, FEATURES))


def rows(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail with code 1 and one paragraph on standard error; returns the paragraph."""
    assert main([str(argument) for argument in arguments]) == 1
    out, err = capsys.readouterr()
    assert err.startswith("fastlstm: error: ")
    assert err.endswith("\n")
    assert "\n\n" not in err
    assert "Traceback" not in err
    assert not out
    return err


@pytest.mark.parametrize("command", [[sys.executable, "-m", "fastlstm"], ["fastlstm"], ["convert-weights"]], ids=lambda words: words[-1])
def test_installed_commands(command: list[str], tmp_path: Path) -> None:
    if not Path(command[0]).is_absolute():
        script = Path(sys.executable).with_name(command[0])
        if not script.exists():
            pytest.skip("fastlstm is not installed with its scripts")
        command = [str(script)]
    done = subprocess.run([*command, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "examples:" in done.stdout
    wrong = subprocess.run([*command, "--no-such-option"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("usage:")


@pytest.mark.parametrize("command", ["convert", "describe", "predict", "verify", "serve", "demo"])
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main([command, "--help"])
    out = capsys.readouterr().out
    assert "examples:" in out
    assert f"fastlstm {command}" in out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["describe"],
        ["predict", "m.h5"],
        ["predict", "m.h5", "x.npy", "-o", "y.txt"],
        ["predict", "m", "x", "--threads", "0"],
    ],
    ids=" ".join,
)
def test_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(arguments)
    assert capsys.readouterr().err.startswith("usage:")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert capsys.readouterr().out.startswith(f"fastlstm {fastlstm.__version__}, ")


def test_kernels_that_are_not_there(model_path: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", rows(1, 2, FEATURES))
    environment = {**os.environ, "FASTLSTM_KERNELS": "v9"}
    for arguments in (["--version"], ["predict", str(model_path), str(tmp_path / "x.npy")]):
        command = [sys.executable, "-m", "fastlstm", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 1
        assert done.stderr.startswith("fastlstm: error: ")
        assert "v9" in done.stderr
        assert "Traceback" not in done.stderr


# -- inspect --------------------------------------------------------------------------------------------------------------------------


def test_describe(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(model_path)]) == 0  # its earlier name
    assert capsys.readouterr().out
    assert main(["describe", str(model_path)]) == 0
    out = capsys.readouterr().out
    assert "Keras 2.3.1" in out
    assert "(any, any, 3)" in out
    assert re.search(r"^lstm_1 +LSTM +\(any, 4\) +128 +native$", out, re.MULTILINE)
    assert re.search(r"^dense_2 +Dense +\(any, 2\) +10 +native$", out, re.MULTILINE)
    assert "138 parameters" in out


def test_describe_json(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", str(model_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["supported"] is True
    assert found["parameters"] == 138
    assert [shape["shape"] for shape in found["inputs"]] == [[None, None, 3]]
    assert [shape["shape"] for shape in found["outputs"]] == [[None, 2]]
    assert {"name": "dense_2", "class_name": "Dense", "output_shape": [None, 2], "parameters": 10, "runs": "native"} in found["layers"]
    assert found["problems"] == []


def test_describe_unsupported(unsupported_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", str(unsupported_path)]) == 1
    out, err = capsys.readouterr()
    assert not err
    assert re.search(r"^oddity_2 +Oddity .* unsupported$", out, re.MULTILINE)
    assert "cannot be computed" in out
    assert "'oddity_2'" in out
    assert "'oddity_3'" in out

    assert main(["describe", str(unsupported_path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["supported"] is False
    assert [problem["layer"] for problem in found["problems"]] == ["oddity_2", "oddity_3"]


# -- predict --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["npy", "npz", "csv"])
def test_predict_files(model_path: Path, tmp_path: Path, ending: str) -> None:
    x = rows(6, 5, FEATURES)
    data, out = tmp_path / f"x.{ending}", tmp_path / f"y.{ending}"
    if ending == "npy":
        np.save(data, x)
    elif ending == "npz":
        np.savez(data, whatever=x)
    else:
        np.savetxt(data, x.reshape(6, -1), delimiter=",", header="not,numbers", comments="")
    assert main(["predict", str(model_path), str(data), "-o", str(out)]) == 0
    expected = fastlstm.load(model_path).predict(x)
    if ending == "npz":
        with np.load(out) as archive:
            (found,) = archive.values()
    else:
        found = np.load(out) if ending == "npy" else np.loadtxt(out, delimiter=",", dtype=np.float32)
    np.testing.assert_array_equal(found, expected)


def test_predict_prints(model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = rows(3, 5, FEATURES)
    np.save(tmp_path / "x.npy", x)
    assert main(["predict", str(model_path), str(tmp_path / "x.npy"), "--threads", "2"]) == 0
    out, err = capsys.readouterr()
    found = np.loadtxt(io.StringIO(out), delimiter=",", dtype=np.float32)
    np.testing.assert_array_equal(found, fastlstm.load(model_path).predict(x))
    assert not err


def test_predict_lines_of_different_lengths(steps_path: Path, tmp_path: Path) -> None:
    sequences = [rows(length, FEATURES) for length in (1, 4, 2)]
    lines = [",".join(f"{value:.9g}" for value in sequence.ravel()) for sequence in sequences]
    lines[0] += "," * 9  # as spreadsheets write short lines
    (tmp_path / "x.csv").write_text("\n".join(lines) + "\n")
    expected = fastlstm.load(steps_path).predict(sequences)
    assert main(["predict", str(steps_path), str(tmp_path / "x.csv"), "-o", str(tmp_path / "y.csv")]) == 0
    found = [np.array(line.split(","), np.float32) for line in (tmp_path / "y.csv").read_text().splitlines()]
    for one, other in zip(found, expected):
        np.testing.assert_array_equal(one, other.ravel())
    assert main(["predict", str(steps_path), str(tmp_path / "x.csv"), "-o", str(tmp_path / "y.npz")]) == 0
    with np.load(tmp_path / "y.npz") as archive:
        for one, other in zip(archive.values(), expected):
            np.testing.assert_array_equal(one, other)


def test_predict_series(model_path: Path, tmp_path: Path) -> None:
    x = rows(7, FEATURES)
    np.savetxt(tmp_path / "x.csv", x, delimiter=";")
    assert main(["predict", str(model_path), str(tmp_path / "x.csv"), "--series", "-o", str(tmp_path / "y.npy")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), fastlstm.load(model_path).predict(x[np.newaxis]))


def test_sequences_of_one_timestep_are_told(steps_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a file that may have been meant as one sequence."""
    np.savetxt(tmp_path / "x.csv", rows(7, FEATURES), delimiter=",")
    command = ["predict", str(steps_path), str(tmp_path / "x.csv"), "-o", str(tmp_path / "y.npy")]
    note = "x.csv: read as 7 sequences of 1 timestep; if it is one sequence, pass --series\n"
    for more, expected in ((), note), (("--series",), ""), (("--quiet",), ""):
        assert main([*command, *more]) == 0
        assert capsys.readouterr().err.endswith(expected) if expected else capsys.readouterr().err == ""


def test_predict_layer(model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = rows(2, 5, FEATURES)
    np.save(tmp_path / "x.npy", x)
    both = ["--layer", "lstm_1", "--layer", "dense_2"]
    assert main(["predict", str(model_path), str(tmp_path / "x.npy"), *both, "-o", str(tmp_path / "y.npz")]) == 0
    with np.load(tmp_path / "y.npz") as archive:
        assert {name: y.shape for name, y in archive.items()} == {"lstm_1": (2, 4), "dense_2": (2, 2)}
        np.testing.assert_array_equal(archive["dense_2"], fastlstm.load(model_path).predict(x))
    assert "2 (lstm_1, dense_2)" in fails(capsys, "predict", model_path, tmp_path / "x.npy", *both)
    assert "error: --outputs: expected names of layers of" in fails(capsys, "predict", model_path, tmp_path / "x.npy", "--layer", "lstm")


def test_predict_no_rows(model_path: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", rows(0, 5, FEATURES))
    assert main(["predict", str(model_path), str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy")]) == 0
    assert np.load(tmp_path / "y.npy").shape == (0, 2)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_bar(model_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fastlstm.load(model_path)
    x = rows(500, 5, FEATURES)
    monkeypatch.setattr(progress, "PART_SECONDS", 0.0)
    quiet = Terminal()
    np.testing.assert_array_equal(progress.predict(model, [x], quiet)["dense_2"], model.predict(x))
    assert not quiet.getvalue()
    monkeypatch.setattr(progress, "LONG_SECONDS", 0.0)
    for stream, bar in ((Terminal(), True), (io.StringIO(), False)):
        np.testing.assert_array_equal(progress.predict(model, [x], stream)["dense_2"], model.predict(x))
        assert bool(stream.getvalue()) == bar
        if bar:
            assert "100% [##############################] 500/500 rows, 0 s left" in stream.getvalue()


def test_stateful_model_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    path = h5_files.save(tmp_path / "model.h5", [h5_files.recurrent("LSTM", 4, FEATURES, rng, stateful=True)], (5, FEATURES), batch=6)
    x = rows(120, 5, FEATURES)
    monkeypatch.setattr(progress, "PART_SECONDS", 0.0)
    (found,) = progress.predict(fastlstm.load(path), [x], io.StringIO()).values()
    np.testing.assert_array_equal(found, fastlstm.load(path).predict(x))


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("x.csv", "1,2,3\n1,2,word\n", "line 2, column 3: expected a number, found 'word'"),
        ("x.csv", "1,2,3\n1,2\n", "expected a multiple of 3 values in every line, found 2 in row 2"),
        ("x.csv", "\n\n", "expected lines of numbers, found none"),
        ("x.csv", b"\xff\xfe\x00", "expected text"),
        ("x.npy", b"not numpy", "x.npy: cannot be read as .npy: NumPy did not write it"),
        ("x.npz", b"PK\x03\x04 and no more", "cannot be read as .npz"),
        ("x.txt", "1", "expected a .npy, .npz or .csv file, found .txt"),
        ("x", "1", "expected a .npy, .npz or .csv file, found no ending"),
        ("x.npy", rows(4, FEATURES), "x.npy: input 'lstm_1_input': expected shape (any, any, 3), found (4, 3)"),
        ("x.npy", np.array([{}]), "x.npy: cannot be read as .npy: it holds Python objects, not numbers"),
        ("x.npz", {"a": rows(1, 2, FEATURES), "b": rows(1, 2, FEATURES)}, "found a, b"),
    ],
    ids=["word", "short line", "empty", "bytes", "not npy", "not npz", "ending", "no ending", "rank", "objects", "names"],
)
def test_predict_bad_input(
    model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: object, expected: str
) -> None:
    path = tmp_path / name
    if isinstance(content, np.ndarray):
        np.save(path, content, allow_pickle=True)
    elif isinstance(content, dict):
        np.savez(path, **content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(str(content))
    assert expected in fails(capsys, "predict", model_path, path)


def test_url_is_refused_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert "the URL https://example.org/model.h5, which is never fetched" in fails(capsys, "describe", "https://example.org/model.h5")


@pytest.mark.parametrize(
    "command", [["describe", ""], ["convert", "", "x"], ["convert", "x", ""], ["demo", "--plot", ""], ["predict", "x", ""]], ids=str
)
def test_empty_path_is_not_understood(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(command)
    assert caught.value.code == 2
    assert "expected a path, found an empty one" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX")
def test_pipe_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "model.h5")
    assert "not a format that fastlstm reads: a pipe or a device" in fails(capsys, "describe", tmp_path / "model.h5")


def test_verify_says_against_what(model_path: Path, tmp_path: Path) -> None:
    """A file of Keras has no recorded cases."""
    fastlstm.convert(model_path, tmp_path / "model.fastlstm")
    for path, word in ((model_path, "float64"), (tmp_path / "model.fastlstm", "recorded")):
        first, *cases = str(fastlstm.verify(path)).splitlines()
        assert first == f"{path}: verified"
        assert {case.split()[0] for case in cases} == {word}


def test_ragged_output_needs_a_fitting_file(steps_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.csv").write_text("1,2,3\n1,2,3,4,5,6\n")
    assert ".npz or .csv" in fails(capsys, "predict", steps_path, tmp_path / "x.csv", "-o", tmp_path / "y.npy")


# -- convert, verify ------------------------------------------------------------------------------------------------------------------


CONVERT = [lambda *words: main(["convert", *words]), lambda *words: convert_weights(words)]


@pytest.mark.parametrize("command", CONVERT, ids=["fastlstm convert", "convert-weights"])
def test_convert(command: object, model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(command)
    target = tmp_path / "model.fastlstm"
    assert command(str(model_path), str(target)) == 0
    assert "Keras 2.3.1" in capsys.readouterr().out
    x = rows(4, 5, FEATURES)
    np.testing.assert_array_equal(fastlstm.load(target).predict(x), fastlstm.load(model_path).predict(x))
    assert main(["verify", str(target)]) == 0
    assert "verified" in capsys.readouterr().out


def test_convert_weights_with_architecture(model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import h5py

    weights, architecture = tmp_path / "weights.h5", tmp_path / "model.json"
    with h5py.File(model_path) as whole, h5py.File(weights, "w") as alone:
        architecture.write_bytes(whole.attrs["model_config"])
        for key, value in whole["model_weights"].attrs.items():
            alone.attrs[key] = value
        for name in whole["model_weights"]:
            whole.copy(f"model_weights/{name}", alone)
    x = rows(2, 5, FEATURES)
    np.save(tmp_path / "x.npy", x)
    assert "architecture" in fails(capsys, "describe", weights)
    assert main(["describe", str(weights), "--architecture", str(architecture)]) == 0
    converted = str(tmp_path / "model.fastlstm")
    assert convert_weights([str(weights), converted, "--architecture", str(architecture), "--no-verify"]) == 0
    for path, options in ((converted, []), (str(weights), ["--architecture", str(architecture)])):
        assert main(["predict", path, str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy"), *options]) == 0
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), fastlstm.load(model_path).predict(x))


def test_failures(model_path: Path, unsupported_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(model_path.read_bytes()[:1000])
    text = tmp_path / "text.h5"
    text.write_text("hello")
    for command in (["describe"], ["verify"], ["predict"], ["convert"]):
        more = {"predict": [tmp_path / "x.npy"], "convert": [tmp_path / "y.fastlstm"]}.get(command[0], [])
        assert "absent.h5" in fails(capsys, *command, tmp_path / "absent.h5", *more)
        assert "damaged.h5" in fails(capsys, *command, damaged, *more)
        assert "text.h5" in fails(capsys, *command, text, *more)
        if command != ["describe"]:
            message = fails(capsys, *command, unsupported_path, *more)
            assert "oddity_2" in message
            assert "oddity_3" in message
    assert "absent.npy" in fails(capsys, "predict", model_path, tmp_path / "absent.npy")
    assert not (tmp_path / "y.fastlstm").exists()


def test_pipe_closed_early(model_path: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", rows(20000, 2, FEATURES))
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as closed:
        command = [sys.executable, "-m", "fastlstm", "predict", str(model_path), str(tmp_path / "x.npy")]
        done = subprocess.run(command, cwd=tmp_path, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert not done.stderr


# -- demo -----------------------------------------------------------------------------------------------------------------------------


def test_demo(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    assert "Keras 3" in out
    assert re.search(r"^1996-12 +13\.3 ", out, re.MULTILINE)
    assert re.search(r"^12 months ahead +\d", out, re.MULTILINE)
    assert "loaded in" in out


def test_demo_is_what_keras_forecast() -> None:
    result = demo.run()
    assert result.difference <= 2e-6  # as far as Keras itself is from the truth after 132 timesteps
    assert result.forecast.shape == (len(result.first), demo.HORIZON)
    for score in result.scores:
        assert score.mae < score.naive_mae
        assert score.rmse < score.naive_rmse


def test_demo_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert main(["demo", "--plot", str(tmp_path / "plot.png")]) == 0
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "plot.png" in capsys.readouterr().out


def test_demo_plot_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["demo", "--plot", str(tmp_path / "plot.png")]) == 1
    assert "pip install 'fastlstm[plot]'" in capsys.readouterr().err
