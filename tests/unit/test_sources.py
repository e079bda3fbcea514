"""Sources of models: paths, bytes, open files; and messages about all that is no model, with advice that works."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5_files
import h5py
import numpy as np
import pytest
from keras_configs import chain, write_h5

import fastlstm
from fastlstm.errors import FastLSTMError, FormatError, InputError

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)


@pytest.fixture
def h5(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    return h5_files.save(tmp_path / "m.h5", [h5_files.recurrent("LSTM", 4, 3, rng), h5_files.dense(2, 4, rng)], (5, 3))


@pytest.fixture
def keras_zip(h5: Path, tmp_path: Path) -> Path:
    """The same model as Keras 3 writes it."""
    with h5py.File(h5) as file:
        config = json.loads(file.attrs["model_config"])
        weights = file["model_weights"]
        arrays = [[weights[name][key][()] for key in weights[name].attrs["weight_names"]] for name in weights.attrs["layer_names"]]
    places = ["layers/lstm/cell/vars", "layers/dense/vars"]
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        for place, values in zip(places, [values for values in arrays if values], strict=True):
            for number, value in enumerate(values):
                file[f"{place}/{number}"] = value
    for layer in config["config"]["layers"] if isinstance(config["config"], dict) else config["config"]:
        layer["config"]["trainable"] = True
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0"}))
        archive.write(tmp_path / "model.weights.h5", "model.weights.h5")
    return path


@pytest.fixture
def own_format(h5: Path, tmp_path: Path) -> Path:
    fastlstm.convert(h5, tmp_path / "m.fastlstm")
    return tmp_path / "m.fastlstm"


def at_end(path: Path) -> io.BytesIO:
    """Bytes just written: the stream stands after the last."""
    stream = io.BytesIO()
    stream.write(path.read_bytes())
    return stream


WAYS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "text": str,
    "bytes": lambda path: path.read_bytes(),
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "BytesIO at its end": at_end,
    "open file": lambda path: path.open("rb"),
    "unbuffered": lambda path: path.open("rb", buffering=0),
    "pipe-like": lambda path: SimpleNamespace(read=io.BytesIO(path.read_bytes()).read, seekable=lambda: False),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["h5", "keras_zip", "own_format"])
def test_every_way(kind: str, way: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    path: Path = request.getfixturevalue(kind)
    expected = fastlstm.load(path).predict(X)
    make = WAYS[way]
    np.testing.assert_array_equal(fastlstm.load(make(path)).predict(X), expected)
    assert fastlstm.describe(make(path)).problems == ()
    assert fastlstm.verify(make(path)).passed
    report = fastlstm.convert(make(path), tmp_path / "again.fastlstm")
    np.testing.assert_array_equal(fastlstm.load(report.target, verify=True).predict(X), expected)
    damaged = make(path)
    if isinstance(damaged, (bytes, bytearray)):
        with pytest.raises(FormatError, match="bytes>: "):
            fastlstm.load(damaged[:-100])


def test_an_open_file_stands_where_it_stood(h5: Path) -> None:
    with h5.open("rb") as file:
        file.seek(7)
        fastlstm.load(file)
        assert file.tell() == 7


def test_h5py_files(h5: Path, tmp_path: Path) -> None:
    expected = fastlstm.load(h5).predict(X)
    with h5py.File(h5) as file:
        np.testing.assert_array_equal(fastlstm.load(file).predict(X), expected)
        fastlstm.convert(file, tmp_path / "m.fastlstm")
        assert file["model_weights"]  # still open
        with pytest.raises(InputError, match="is the file that is read"):
            fastlstm.convert(file, h5)
    np.testing.assert_array_equal(fastlstm.load(tmp_path / "m.fastlstm").predict(X), expected)
    with pytest.raises(InputError, match="h5py.File that is closed"):
        fastlstm.load(file)
    with h5py.File("in memory", "w", driver="core", backing_store=False) as memory, h5py.File(h5) as file:
        for name, value in file.attrs.items():
            memory.attrs[name] = value
        file.copy("model_weights", memory)
        np.testing.assert_array_equal(fastlstm.load(memory).predict(X), expected)


@pytest.mark.parametrize(
    "given", [5, None, 1.5, object(), [], {}, {"a": 1}, ("m.h5",), np.zeros(3)], ids=lambda given: type(given).__name__
)
def test_what_is_nothing_to_read_from(given: Any) -> None:
    for call in (fastlstm.load, fastlstm.describe, fastlstm.verify):
        with pytest.raises(InputError, match=f"path: expected a path, bytes, .* found {type(given).__name__}"):
            call(given)


def test_text_and_broken_streams(h5: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gives text; open it with 'rb'"):
        fastlstm.load(io.StringIO("text"))
    with h5.open() as text, pytest.raises(InputError, match="gives text; open it with 'rb'"):
        fastlstm.load(text)
    with pytest.raises(InputError, match="path: expected a path, .* found an empty path"):
        fastlstm.load("")
    closed = h5.open("rb")
    closed.close()
    with pytest.raises(InputError, match="cannot be read"):
        fastlstm.load(closed)
    with (tmp_path / "w").open("wb") as writing, pytest.raises(InputError, match="cannot be read"):
        fastlstm.load(writing)


@pytest.mark.parametrize("url", ["https://example.com/m.h5", "s3://bucket/m.h5", "file:///m.h5", "http://a/b"])
def test_urls_are_not_fetched(url: str) -> None:
    with pytest.raises(InputError, match="a URL|the URL .* never fetched; download the file first"):
        fastlstm.load(url)


@pytest.mark.parametrize("path", ["a\0b", "", "x" * 5000])
def test_paths_that_cannot_be(path: str) -> None:
    with pytest.raises(FastLSTMError):
        fastlstm.load(path)


@pytest.mark.parametrize("outputs", [5, [], [5], {"dense_2": 1}, b"dense_2", [["dense_2"]]], ids=str)
def test_outputs_that_are_no_names(h5: Path, outputs: Any) -> None:
    with pytest.raises(InputError, match="outputs: expected a name of a layer"):
        fastlstm.load(h5, outputs=outputs)


# -- what is no model, named for what it is; the advice works -------------------------------------------------------------------


def said(path: Any, **options: Any) -> str:
    with pytest.raises(FormatError) as caught:
        fastlstm.load(path, **options)
    return str(caught.value)


FILES: dict[str, tuple[bytes, str]] = {
    "m.pkl": (pickle.dumps({"a": 1}), "a pickle, which is never loaded"),
    "m.tflite": (b"\x1c\0\0\0TFL3" + bytes(40), "TensorFlow Lite"),
    "m.npy": (b"\x93NUMPY\x01\0" + bytes(40), "a NumPy array"),
    "m.h5.gz": (gzip.compress(b"x" * 100), "packed with gzip"),
    "m.tar": (b"a".ljust(257, b"\0") + b"ustar" + bytes(100), "a tar archive"),
    "saved_model.pb": (b"\x08\x01\x12\xff\0\x01", "saved_model.pb: damaged"),
    "variables.data-00000-of-00001": (bytes(range(256)), "a TensorFlow checkpoint"),
    "m.ckpt.index": (b"\0" * 40 + bytes.fromhex("57fb808b247547db"), "a TensorFlow checkpoint, which holds weights alone"),
    "checkpoint": (b'model_checkpoint_path: "m.ckpt"\n', "a TensorFlow checkpoint"),
    "model.weights.json": (
        b'{"metadata": {}, "weight_map": {"/layers/dense/vars": "model_00000.weights.h5"}}',
        "cannot be read",
    ),
    "model.json": (b'{"class_name": "Sequential"}', "JSON, which has no weights"),
    "model.yaml": (b"class_name: Sequential\n", "YAML"),
    "m.html": (b"<!doctype html><html></html>", "a web page"),
    "lfs.h5": (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "notes.txt": (b"hello", "a text file"),
    "random": (bytes(range(1, 256)) * 3 + b"\0", "not a format that fastlstm reads"),
    "empty": (b"", "the file is empty"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_models(name: str, tmp_path: Path) -> None:
    data, what = FILES[name]
    path = tmp_path / name
    path.write_bytes(data)
    message = said(path)
    assert message.startswith(f"{path}: ")
    assert what in message


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device")
def test_devices_that_never_end() -> None:
    assert "not a format that fastlstm reads" in said("/dev/zero")


def test_packed_files_unpacked(h5: Path, tmp_path: Path) -> None:
    (tmp_path / "m.h5.gz").write_bytes(gzip.compress(h5.read_bytes()))
    assert "gunzip" in said(tmp_path / "m.h5.gz")
    fastlstm.load(gzip.decompress((tmp_path / "m.h5.gz").read_bytes()))


def test_architecture_as_the_messages_say(h5: Path, keras_zip: Path, tmp_path: Path) -> None:
    weights = tmp_path / "model.weights.h5"
    assert "pass architecture=" in said(weights)
    with zipfile.ZipFile(keras_zip) as archive:
        (tmp_path / "model.json").write_bytes(archive.read("config.json"))
    assert "this as architecture=" in said(tmp_path / "model.json")
    expected = fastlstm.load(h5).predict(X)
    np.testing.assert_array_equal(fastlstm.load(weights, architecture=tmp_path / "model.json").predict(X), expected)


def test_other_order_by_name(tmp_path: Path) -> None:
    names = ("a", "b")
    config = chain(*(("Dense", {"name": name, "units": 3, "batch_input_shape": [None, 3], "activation": "linear"}) for name in names))
    weights = {name: [np.eye(3) * number, np.zeros(3)] for number, name in enumerate(names, start=2)}
    write_h5(tmp_path / "m.h5", config, dict(reversed(weights.items())))
    assert "by_name=True pairs by name" in said(tmp_path / "m.h5")
    y = fastlstm.load(tmp_path / "m.h5", by_name=True).predict(np.ones((1, 3)))
    assert y.tolist() == [[6.0, 6.0, 6.0]]


def test_folders_of_keras_3(keras_zip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unzipped"
    with zipfile.ZipFile(keras_zip) as archive:
        archive.extractall(folder)
    np.testing.assert_array_equal(fastlstm.load(folder).predict(X), fastlstm.load(keras_zip).predict(X))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("saved_model.pb", "saved_model.pb: damaged"),
        ("checkpoint", "TensorFlow checkpoints"),
        ("model.weights.h5", "without the config.json"),
        ("anything", "a folder, not a file"),
    ],
)
def test_folders_that_are_no_files(name: str, what: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).write_text("x")
    assert what in said(folder)
    shutil.rmtree(folder)
    assert "cannot be opened" in said(folder)
