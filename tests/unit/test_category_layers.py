"""Layers that make ids and categories of text and numbers: what recorded Kerases make of them, and what is refused."""

from __future__ import annotations

import inspect
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras3_files
import numpy as np
import preprocessing_cases as cases
import pytest

import fastlstm
import fastlstm.demo
from fastlstm import staging
from fastlstm.base_executor import BaseExecutor, SteppingExecutor
from fastlstm.spec import Call, Generation, LayerSpec, ModelSpec, Ref

RECORDED = sorted((Path(__file__).parents[1] / "corpus" / "recorded" / "preprocessing").glob("*.zip"))


def recorded(path: Path) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    """The files of a generation, and the outputs of its layers."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with np.load(io.BytesIO(files.pop("expected.npz"))) as outputs:
        return files, dict(outputs)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded(path: Path) -> None:
    """Numbers, shapes and dtypes are those of the Keras, from its file and from what it was converted to."""
    files, expected = recorded(path)
    compared = 0
    for name, data in files.items():
        group = name.split(".")[0]
        y = fastlstm.load(data).predict(cases.rows(group.split("-")[0]))
        names = [key for key in expected if key.startswith(group + "/")]
        for key, mine in zip(names, y if isinstance(y, list) else [y], strict=True):
            theirs = expected[key]
            if mine.dtype == object:
                mine = mine.astype("S")
            assert mine.dtype.kind == theirs.dtype.kind and mine.shape == theirs.shape, key
            assert mine.dtype == theirs.dtype or mine.dtype.kind == "S", key
            same = np.allclose(mine, theirs, rtol=1e-6) if theirs.dtype.kind == "f" else np.array_equal(mine, theirs)
            assert same, (key, mine, theirs)
            compared += 1
    assert compared == len(expected)


def test_generations_are_there() -> None:
    assert {"k315", "k33", "tf24", "tf210", "tf215"} <= {path.stem for path in RECORDED}


@pytest.fixture(scope="module")
def sentences() -> bytes:
    """Keras 3's model of sentences."""
    return recorded(next(path for path in RECORDED if path.stem == "k315"))[0]["sentences.keras"]


def test_converted(sentences: bytes, tmp_path: Path) -> None:
    """A .fastlstm file, a process of its own, threads and float64 give the same; the file proves itself."""
    rows = cases.rows("sentences")
    model = fastlstm.load(sentences)
    expected = model.predict(rows)
    fastlstm.convert(sentences, tmp_path / "m.fastlstm")
    assert fastlstm.verify(tmp_path / "m.fastlstm").passed
    for options in ({}, {"threads": 2}, {"isolated": True}, {"precision": "float64"}):
        other = fastlstm.load(tmp_path / "m.fastlstm", **options)
        assert other.inputs[0].dtype == "string"
        for mine, theirs in zip(other.predict(rows), expected, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-6)


def test_words_alone_and_together(sentences: bytes) -> None:
    """Few texts are looked up one by one, many together: it is the same, at every number of rows."""
    model = fastlstm.load(sentences, outputs=["text_length"])
    rows = [str(text[0], "utf-8") for text in cases.rows("sentences")] * 12
    alone = np.concatenate([model.predict([row]) for row in rows])
    for count in (1, 15, 16, 17, 33, len(rows)):
        assert np.array_equal(model.predict(rows[:count]), alone[:count])


def test_evaluated(sentences: bytes) -> None:
    """Loss and metrics of what is made of texts."""
    model = fastlstm.load(sentences, outputs=["text_multi_hot"])
    rows = cases.rows("sentences")
    y = model.predict(rows)
    assert model.evaluate(rows, y, loss="mse") == 0
    assert model.evaluate(rows, y + 2, loss="mse", batch_size=2) == 4


def test_forms_of_text(sentences: bytes) -> None:
    model = fastlstm.load(sentences, outputs=["text_short"])
    expected = model.predict(["cat", "dog é"])
    for given in (
        [["cat"], ["dog é"]],
        ("cat", "dog é"), [b"cat", "dog é".encode()], np.array(["cat", "dog é"]), np.array([["cat"], ["dog é"]], object),
        {"of_sentences": ["cat", "dog é"]}, [np.array([["cat"], ["dog é"]])],
    ):  # fmt: skip
        assert np.array_equal(model.predict(given), expected)
    assert model.predict(np.array([b"cat"])).shape == (1, 1)
    assert model.predict([]).shape == (0, 1)
    assert model.predict([b"cat\0", b"\xff cat"]).tolist() == [[1], [1]]


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ("cat", "a single one; pass a list"),
        (np.array("cat"), "a single one; pass a list"),
        (np.zeros((2, 1)), "numbers of dtype float64"),
        ([1, 2], r"found 1 \(int\)"),
        ([["a"], ["b", "c"]], "different lengths"),
        ([["a", "b"]], r"expected shape \(any, 1\)"),
        (["\ud800"], "half a character"),
        ([None], "found None"),
        (None, "found NoneType"),
    ],
)
def test_what_is_no_text(sentences: bytes, given: Any, what: str) -> None:
    with pytest.raises(fastlstm.InputError, match=what):
        fastlstm.load(sentences, outputs=["text"]).predict(given)


def test_text_for_numbers() -> None:
    with pytest.raises(fastlstm.InputError, match="expected numbers, found text"):
        fastlstm.load(fastlstm.demo.MODEL).predict(np.array([[["a"]]]))


def test_streams_are_refused(sentences: bytes) -> None:
    with pytest.raises(fastlstm.UnsupportedError, match="not made step by step"):
        fastlstm.load(sentences, outputs=["text"]).stream()


def test_executors_have_the_same_members(sentences: bytes) -> None:
    """What computes a model in stages has every member that faces ask an executor for, and is none that streams."""
    executor, plain = fastlstm.load(sentences).executor, fastlstm.load(fastlstm.demo.MODEL).executor
    assert isinstance(executor, BaseExecutor) and not isinstance(executor, SteppingExecutor)
    assert isinstance(plain, SteppingExecutor) and plain.stepping() is plain
    for one in (executor, plain):
        assert {*inspect.signature(BaseExecutor).parameters, "spec", "source"} <= set(vars(one))
    with pytest.raises(TypeError, match="abstract"):  # before a call finds out
        type("Partial", (BaseExecutor,), {"run": type(plain).run})(plain.network)


def changed(data: bytes, change: Any, assets: Any = None) -> bytes:
    """A .keras file with another config."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                entry = json.loads(content)
                change({layer["config"]["name"]: layer["config"] for layer in entry["config"]["layers"]})
                content = json.dumps(entry).encode()
            new.writestr(name, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("standardize", {"class_name": "function", "config": "mine"}, "standardize='mine' is a function of the user's"),
        ("split", {"class_name": "function", "config": "mine"}, "split='mine' is a function of the user's"),
        ("ragged", True, "ragged tensor"),
        ("sparse", True, "sparse tensor"),
        ("ngrams", [0], r"ngrams=\[0\] is not computed"),
        ("output_mode", "odd", "output_mode='odd' is not computed"),
        ("vocabulary", "/etc/passwd", "in a file of its own"),
        ("vocabulary", None, "no vocabulary"),
        ("vocabulary", ["a", "a"], "has 'a' twice|b'a' twice"),
        ("vocabulary", ["a", 1], "something other than text"),
        ("vocabulary", ["\ud800"], "no text"),
        ("output_sequence_length", -1, "output_sequence_length"),
        ("max_tokens", "many", "max_tokens"),
    ],
)
def test_refused(sentences: bytes, key: str, value: Any, what: str) -> None:
    def change(configs: dict[str, Any]) -> None:
        configs["text_length"][key] = value

    with pytest.raises((fastlstm.UnsupportedError, fastlstm.FormatError), match=what):
        fastlstm.load(changed(sentences, change), outputs=["text_length"])


def test_cut_behind(sentences: bytes) -> None:
    """The advice for what cannot be computed works: begin behind it."""
    model = fastlstm.load(sentences, inputs=["text_multi_hot"], outputs=["text_multi_hot"])
    assert model.predict(np.ones((2, 10))).shape == (2, 10)


def test_cut_at_the_text(sentences: bytes) -> None:
    """Text alone is nothing to compute; beside what a layer makes of it, it is an output."""
    with pytest.raises(fastlstm.UnsupportedError, match=r"of_sentences.*text that no layer reads.*name a layer behind it in outputs="):
        fastlstm.load(sentences, outputs=["of_sentences"])
    text, ids = fastlstm.load(sentences, outputs=["of_sentences", "text"]).predict(np.array([["a b"], ["c"]]))
    assert text.ravel().tolist() == [b"a b", b"c"]
    assert ids.dtype == np.int64


def test_unknown_terms_where_none_may_be() -> None:
    files, _ = recorded(next(path for path in RECORDED if path.stem == "k315"))

    def change(configs: dict[str, Any]) -> None:
        configs["words"]["num_oov_indices"] = 0
        configs["words"]["vocabulary_size"] = None

    model = fastlstm.load(changed(files["words.keras"], change), outputs=["words"])
    assert model.predict([["cat", "dog", "the"]]).tolist() == [[0, 1, 2]]
    with pytest.raises(fastlstm.InputError, match="'words'.*num_oov_indices=0.*b'bird'"):
        model.predict([["cat", "bird", "the"]])


def test_ids_are_evaluated(sentences: bytes) -> None:
    """Models that read text have a loss as all others have."""
    model = fastlstm.load(sentences, outputs=["text_length"])
    rows = cases.rows("sentences")
    ids = model.predict(rows)
    assert model.evaluate(rows, ids + 2, loss="mse", metrics=["mae"]) == [4.0, 2.0]
    assert model.evaluate(rows, ids + 2, loss="mse", batch_size=1) == 4.0


def test_texts_have_no_loss() -> None:
    files, _ = recorded(next(path for path in RECORDED if path.stem == "k315"))
    models = {name: fastlstm.load(data) for name, data in files.items()}
    name, model = next((name, model) for name, model in models.items() if any(info.dtype == "string" for info in model.outputs))
    texts = [info.name for info in model.outputs if info.dtype == "string"]
    rows = cases.rows(name.split(".")[0].split("-")[0])
    with pytest.raises(fastlstm.InputError, match=f"evaluate: expected outputs that are numbers, found texts: '{texts[0]}'"):
        model.evaluate(rows, [None] * len(model.outputs), loss="mse")


def test_models_in_models(tmp_path: Path) -> None:
    """Thirty deep: what is in each is put into the one around it once, or it would double with each."""
    config = keras3_files.layer("StringLookup", "words", vocabulary=["a", "b"])
    for depth in range(30):
        config = keras3_files.chain([None, 1], config, dtype="string")
        config["config"]["name"] = f"m{depth}"
    path = keras3_files.zipped(tmp_path / "m.keras", config, {"layers": []})
    assert fastlstm.load(path).predict(["b", "c"]).tolist() == [[2], [0]]


def test_a_model_that_is_called_with_arguments_stays() -> None:
    """In all its calls, as its layers stand in the model around it once."""
    words = LayerSpec("StringLookup", "words", {"num_oov_indices": 1})
    entrance = LayerSpec("InputLayer", "x", {"batch_shape": [None, 1], "dtype": "string"})
    ref = Ref(0)
    generation = Generation("Keras", "3.15.1", "", "")
    inner = ModelSpec("inner", "Functional", (entrance, words), (Call(0), Call(1, (ref,))), (ref,), (Ref(1),), ("x",), ("y",), generation)
    calls = (Call(0), Call(1, (ref,)), Call(1, (ref,), {"training": True}))
    layers = (entrance, LayerSpec("Functional", "inner", {}, model=inner))
    outer = replace(inner, layers=layers, calls=calls, outputs=(Ref(1), Ref(2)), output_names=("a", "b"))
    assert staging.flattened(outer).calls == calls
    flat = staging.flattened(replace(outer, calls=calls[:2], outputs=(Ref(1),), output_names=("a",)))
    assert [flat.layers[call.layer].name for call in flat.calls] == ["x", "inner/x", "inner/words"]
