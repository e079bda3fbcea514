"""Standard output and standard error: of few characters, full, closed, or with nobody at the other end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5_files
import numpy as np
import pytest

from fastlstm.cli import arrayfiles, progress, terminal
from fastlstm.errors import InputError
from fastlstm.inputs import TensorInfo

pytestmark = pytest.mark.slow

FEATURES = 3
ASCII = {"LC_ALL": "POSIX", "PYTHONIOENCODING": "ascii"}
FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models with names of all kinds, and data for them."""
    folder = tmp_path_factory.mktemp("terminal")
    rng = np.random.default_rng(0)
    h5_files.save(
        folder / "café.h5", [h5_files.recurrent("LSTM", 4, FEATURES, rng, name="层_é"), h5_files.dense(2, 4, rng)], (None, FEATURES)
    )
    odd = h5_files.Layer({"class_name": "Öddity", "config": {"name": "ö\x1b[2J", "trainable": True}}, [])
    h5_files.save(folder / "odd.h5", [h5_files.recurrent("LSTM", 4, FEATURES, rng), odd], (None, FEATURES))
    np.save(folder / "données.npy", rng.normal(size=(2, 2, FEATURES)))
    np.save(folder / "many.npy", rng.normal(size=(20000, 2, FEATURES)))
    (folder / "x.csv").write_text("α,β,γ\n1,2,\n1,é,3\n", encoding="utf-8")
    return folder


def run(folder: Path, *arguments: str, env: dict[str, str] | None = None, **options: Any) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(Path(terminal.__file__).parents[2]), "PYTHONUNBUFFERED": "", **(env or {})}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([sys.executable, "-m", "fastlstm", *arguments], cwd=folder, env=environment, check=False, **options)


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["describe", "café.h5"], 0, "caf\\xe9.h5: Keras 2.3.1"),
        (["describe", "café.h5"], 0, "\\u5c42_\\xe9"),
        (["describe", "café.h5", "--json"], 0, '"name": "\\u5c42_\\u00e9"'),
        (["describe", "odd.h5"], 1, "layer '\\xf6\\x1b[2J' (\\xd6ddity)"),
        (["describe", "fehlt-ä.h5"], 1, "fehlt-\\xe4.h5: cannot be opened"),
        (["verify", "café.h5"], 0, "caf\\xe9.h5: verified"),
        (["convert", "café.h5", "naïve.fastlstm"], 0, "caf\\xe9.h5 -> na\\xefve.fastlstm"),
        (["predict", "café.h5", "données.npy", "--layer", "层"], 1, "\\u5c42_\\xe9"),
        (["predict", "café.h5", "données.npy", "-o", "ä/y.npy"], 1, "\\xe4"),
        (["predict", "café.h5", "x.csv"], 1, "line 3, column 2 ('\\u03b2'): expected a number, found '\\xe9'"),
        (["tanzen-ü"], 2, "tanzen-\\xfc"),
    ],
    ids=["file", "layer", "json", "unsupported", "absent", "verify", "convert", "cut", "output", "csv", "usage"],
)
def test_ascii_terminal(folder: Path, arguments: list[str], code: int, expected: str) -> None:
    done = run(folder, *arguments, env=ASCII)
    printed = (done.stdout + done.stderr).decode("ascii")
    assert done.returncode == code
    assert expected in printed
    assert "Traceback" not in printed


def test_names_that_are_no_text(folder: Path) -> None:
    """A file name of other bytes than UTF-8; and a layer's name does not steer the terminal."""
    try:
        os.link(folder / "odd.h5", os.fsencode(folder) + b"/caf\xe9.h5")
    except OSError:
        pytest.skip("this file system has no such names")
    done = run(folder, "describe", os.fsdecode(b"caf\xe9.h5"))
    assert done.returncode == 1
    assert b"caf\\udce9.h5: " in done.stdout
    assert b"\x1b" not in done.stdout
    assert not done.stderr


def test_utf8_terminal_is_untouched(folder: Path) -> None:
    done = run(folder, "describe", "café.h5", env={"PYTHONIOENCODING": "utf-8"})
    assert "层_é" in done.stdout.decode()


@needs_full
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "arguments",
    [["describe", "café.h5"], ["describe", "café.h5", "--json"], ["verify", "café.h5"], ["predict", "café.h5", "données.npy"],
     ["predict", "café.h5", "many.npy"], ["convert", "café.h5", "full.fastlstm"], ["demo"], ["--help"], ["--version"]],
    ids=" ".join,
)  # fmt: skip
def test_output_that_is_full(folder: Path, arguments: list[str], unbuffered: str) -> None:
    with FULL.open("wb") as full:
        done = run(folder, *arguments, stdout=full, env={"PYTHONUNBUFFERED": unbuffered})
    assert done.returncode == 1
    assert done.stderr.decode() == "fastlstm: error: standard output: cannot be written (No space left on device)\n"


@pytest.mark.parametrize(
    "arguments", [["describe", "café.h5"], ["predict", "café.h5", "données.npy"], ["predict", "café.h5", "many.npy"], ["demo"], ["--help"]],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_pipe_that_nobody_reads(folder: Path, arguments: list[str], unbuffered: str) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as closed:
        done = run(folder, *arguments, stdout=closed, env={"PYTHONUNBUFFERED": unbuffered})
    assert done.returncode == 141
    assert not done.stderr


def test_head(folder: Path) -> None:
    """Someone reads a line and leaves."""
    read, write = os.pipe()
    command = [sys.executable, "-m", "fastlstm", "predict", str(folder / "café.h5"), str(folder / "many.npy")]
    with subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE, cwd=Path(terminal.__file__).parents[2]) as process:
        os.close(write)
        with open(read, "rb") as output:
            assert output.readline().count(b",") == 1
        _, err = process.communicate(timeout=60)
    assert process.returncode == 141
    assert not err


@pytest.mark.skipif(os.name != "posix", reason="closes descriptors as a shell does")
def test_started_without(folder: Path) -> None:
    def closing(*numbers: int) -> Any:
        return lambda: [os.close(number) for number in numbers]

    printing = run(folder, "predict", "café.h5", "données.npy", stdout=None, preexec_fn=closing(1))
    assert printing.returncode == 1
    assert printing.stderr.decode() == "fastlstm: error: standard output: closed, nothing can be printed\n"
    for descriptors in ([1], [2], [1, 2]):
        done = run(folder, "predict", "café.h5", "données.npy", "-o", "y.npy", stdout=None, stderr=None, preexec_fn=closing(*descriptors))
        assert done.returncode == 0
        assert np.load(folder / "y.npy").shape == (2, 2)
        (folder / "y.npy").unlink()
    assert run(folder, "predict", "café.h5", "fehlt.npy", "-o", "y.npy", stderr=None, preexec_fn=closing(2)).returncode == 1


@needs_full
def test_standard_error_that_is_full(folder: Path) -> None:
    with FULL.open("wb") as full:
        assert run(folder, "describe", "fehlt.h5", stderr=full).returncode == 1


class Gone:
    """A terminal that was closed."""

    def isatty(self) -> bool:
        return True

    def write(self, _: str) -> None:
        raise OSError(5, "Input/output error")


def test_bar_on_a_terminal_that_is_gone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fastlstm

    monkeypatch.setattr(progress, "LONG_SECONDS", 0.0)
    model, x = fastlstm.load(folder / "café.h5"), np.load(folder / "many.npy")
    (found,) = progress.predict(model, [x], Gone()).values()  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, model.predict(x))


@pytest.mark.parametrize(("text", "expected"), [("añb", "añb"), ("a\x1b[2J\n", "a\\x1b[2J\\n"), ("\udce9", "\\udce9")])
def test_one_line(text: str, expected: str) -> None:
    assert terminal.one_line(text) == expected


# -- array files ----------------------------------------------------------------------------------------------------------------------


def damaged(kind: str) -> bytes:
    """Files that say what is not so."""
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }"
    text = {"huge": header % "10**12", "enormous": header % "1000000000000, 2, 3", "open": header % "2, 3, "}[kind]
    text = text[:-9] if kind == "open" else text
    return b"\x93NUMPY\x01\x00" + (len(text) + 1).to_bytes(2, "little") + text.encode() + b"\n"


@pytest.mark.parametrize("kind", ["huge", "enormous", "open"])
def test_npy_that_lies(folder: Path, tmp_path: Path, kind: str) -> None:
    (tmp_path / "x.npy").write_bytes(damaged(kind))
    done = run(folder, "predict", "café.h5", str(tmp_path / "x.npy"))
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"fastlstm: error: {tmp_path / 'x.npy'}: cannot be read as .npy: ")
    assert done.stderr.count(b"\n") <= 2  # NumPy's own reason may have two lines


@pytest.mark.parametrize("seed", range(4))
def test_array_files_never_raise_anything_else(tmp_path: Path, seed: int) -> None:
    """Bytes changed, cut and put in: InputError, or arrays."""
    rng = np.random.default_rng(seed)
    good = {}
    for name, save in (("x.npy", np.save), ("x.npz", np.savez), ("z.npz", np.savez_compressed)):
        save(tmp_path / name, rng.normal(size=(2, 2, FEATURES)))
        good[name] = (tmp_path / name).read_bytes()
    refused = 0
    for _ in range(400):
        name = str(rng.choice(list(good)))
        data = bytearray(good[name])
        for _ in range(rng.integers(1, 4)):
            data[rng.integers(len(data))] = rng.choice([0, 12, 14, 255, ord("("), ord("9"), ord("O"), rng.integers(256)])
        (tmp_path / name).write_bytes(data[: rng.integers(len(data))] if rng.random() < 0.2 else data)
        try:
            arrayfiles.read(tmp_path / name, [])
        except InputError as error:
            refused += 1
            assert name in str(error)
    assert 0 < refused < 400


@pytest.mark.parametrize("ending", ["npy", "npz", "csv"])
def test_input_that_is_a_folder(folder: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"x.{ending}"
    path.mkdir()
    done = run(folder, "predict", "café.h5", str(path))
    assert done.stderr.decode() == (
        f"fastlstm: error: {path}: expected a folder to write to, as it means several files, found none; -o FOLDER names one\n"
    )
    assert done.returncode == 1


@pytest.mark.parametrize("architecture", ["fehlt.json", "."])
def test_architecture_that_cannot_be_read(folder: Path, architecture: str) -> None:
    done = run(folder, "describe", "café.h5", "--architecture", architecture)
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert architecture.encode() in done.stderr


def test_array_without_rows(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.float32(3))
    with pytest.raises(InputError, match="expected an array with a row for each example, found a single float32"):
        arrayfiles.read(tmp_path / "x.npy", [TensorInfo("x", (None, FEATURES), "float32", None)])


def test_inputs_of_different_rows(tmp_path: Path) -> None:
    """More rows in one input than in the other are not dropped."""
    infos = [TensorInfo(name, (None, FEATURES), "float32", None) for name in ("a", "b")]
    np.savez(tmp_path / "x.npz", a=np.zeros((64, FEATURES)), b=np.zeros((70, FEATURES)))
    with pytest.raises(InputError, match="expected the same number of rows in every input, found 'a' has 64, 'b' has 70"):
        arrayfiles.read(tmp_path / "x.npz", infos)


def test_names_of_arrays(tmp_path: Path) -> None:
    """Outputs may have any name, but no two arrays the same."""
    outputs = {name: np.full((2, 1), number, np.float32) for number, name in enumerate(("file", "a/b", "é", "arr_0", "allow_pickle"))}
    arrayfiles.write(tmp_path / "y.npz", outputs)
    with np.load(tmp_path / "y.npz") as archive:
        assert {name: array.tolist() for name, array in archive.items()} == {name: array.tolist() for name, array in outputs.items()}
    before = (tmp_path / "y.npz").read_bytes()
    with pytest.raises(InputError, match="two arrays would be called 'a_0'"):
        arrayfiles.write(tmp_path / "y.npz", {"a": [np.zeros(1)], "a_0": np.zeros(1)})
    assert (tmp_path / "y.npz").read_bytes() == before
    arrayfiles.write(tmp_path / "y.npz", {"a\0b": np.zeros(1), "\ud800": np.zeros(1)})
    with np.load(tmp_path / "y.npz") as archive:
        assert archive.files == ["a\\x00b", "\\ud800"]


def test_json_is_json(folder: Path) -> None:
    done = run(folder, "describe", "odd.h5", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["problems"][0]["layer"] == "ö\x1b[2J"
