"""Masks that are given: as an argument of a call in the graph, by an input or by another layer, and by the caller of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import golden
import numpy as np
import pytest
from keras_configs import entrance, functional, layer, write_h5

import fastlstm
from fastlstm.errors import FormatError, InputError, UnsupportedError

ROWS, STEPS, FEATURES, UNITS = 4, 5, 3, 4
RNG = np.random.default_rng(0)
MASK = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 1, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]], bool)
X = RNG.normal(size=(ROWS, STEPS, FEATURES)).astype(np.float32)
ZEROED = X * MASK[..., None]
LSTM = {"units": UNITS, "activation": "tanh", "recurrent_activation": "sigmoid"}
WEIGHTS = [RNG.normal(size=shape) * 0.5 for shape in ((FEATURES, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,))]
MORE = [RNG.normal(size=shape) * 0.5 for shape in ((UNITS, 4 * UNITS), (UNITS, 4 * UNITS), (4 * UNITS,))]
ARRAYS = {"l": WEIGHTS, "k": MORE}


def typed(name: str, dtype: str, *shape: int | None) -> dict[str, Any]:
    found = entrance(name, *shape)
    found["config"]["dtype"] = dtype
    return found


def written(
    folder: Path, middle: list[Any], nodes: tuple[Any, Any], inputs: list[Any], version: str = "2.10.0", **options: Any
) -> Path:  # fmt: skip
    """A file of two LSTMs, one on the other, called as ``nodes`` say."""
    first, second = nodes
    lstms = [layer("LSTM", "l", [first], **LSTM, return_sequences=True, **options), layer("LSTM", "k", [second], **LSTM, **options)]
    names = [[one["name"], 0, 0] for one in inputs]
    config = functional([*inputs, *middle, *lstms], names, [["k", 0, 0]], "Functional")
    return write_h5(folder / "m.h5", config, ARRAYS, version)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The output where a layer Masking makes the mask, of zeros."""
    masking = layer("Masking", "mask", [[["x", 0, 0, {}]]], mask_value=0.0)
    nodes = ([["mask", 0, 0, {}]], [["l", 0, 0, {}]])
    path = written(tmp_path_factory.mktemp("masked"), [masking], nodes, [entrance("x", STEPS, FEATURES)])
    found: np.ndarray = fastlstm.load(path).predict(ZEROED)
    return found


def of_input(folder: Path, dtype: str = "bool", *shape: int, version: str = "2.10.0", **options: Any) -> Path:
    """The LSTMs with a mask that is an input of the model."""
    nodes = ([["x", 0, 0, {"mask": ["m", 0, 0]}]], [["l", 0, 0, {"mask": ["m", 0, 0]}]])
    return written(folder, [], nodes, [entrance("x", STEPS, FEATURES), typed("m", dtype, *shape or (STEPS,))], version, **options)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("dtype", ["bool", "float32", "int32"])
def test_mask_that_is_an_input(tmp_path: Path, expected: np.ndarray, dtype: str, precision: str) -> None:
    model = fastlstm.load(of_input(tmp_path, dtype), precision=precision)
    golden.assert_equal(model.predict([ZEROED, MASK.astype(dtype)]), expected)
    changed = np.where(MASK[..., None], X, 7).astype(np.float32)  # what is masked does not count
    golden.assert_equal(model.predict([changed, MASK.astype(np.float64) * 3]), expected)
    golden.assert_equal(model.predict([np.tile(X, (300, 1, 1)), np.tile(MASK, (300, 1))]), np.tile(expected, (300, 1)))
    fastlstm.convert(tmp_path / "m.h5", tmp_path / "m.fastlstm")
    golden.assert_equal(fastlstm.load(tmp_path / "m.fastlstm", verify=True).predict([X, MASK]), expected)


def test_mask_of_bools_runs_without_python(tmp_path: Path) -> None:
    model = fastlstm.load(of_input(tmp_path))
    assert {one.runs for one in model.layers} == {"native", "no work"}
    assert model.predict([X, np.full(MASK.shape, 0.4)]).tolist() == model.predict([X, np.ones_like(MASK)]).tolist()  # as Keras casts


def test_mask_that_a_layer_computes(tmp_path: Path, expected: np.ndarray) -> None:
    middle = [layer("Reshape", "flat", [[["m", 0, 0, {}]]], target_shape=[STEPS])]
    nodes = ([["x", 0, 0, {"mask": ["flat", 0, 0]}]], [["l", 0, 0, {}]])  # the mask goes on to the second
    path = written(tmp_path, middle, nodes, [entrance("x", STEPS, FEATURES), typed("m", "float32", STEPS, 1)])
    golden.assert_equal(fastlstm.load(path).predict([X, MASK[..., None]]), expected)
    with patch("fastlstm.runtime.threads.SHARED_NANOSECONDS", 0):
        many = fastlstm.load(path, threads=2).predict([np.tile(X, (5000, 1, 1)), np.tile(MASK[..., None], (5000, 1, 1))])
    golden.assert_equal(many[-4:], expected)


def test_mask_of_places_of_each_step(tmp_path: Path, expected: np.ndarray) -> None:
    """A mask (batch, time, 1) is that of the steps, as in Keras."""
    golden.assert_equal(fastlstm.load(of_input(tmp_path, "bool", STEPS, 1)).predict([X, MASK[..., None]]), expected)


@pytest.mark.parametrize(
    ("mask", "what"),
    [
        (["m", 0, 1], "output 1 of layer 'm'"),
        ([["m", 0, 0], "all"], "k"),
        ({"m": 0}, "mask: expected a tensor"),
        (True, "mask: expected a tensor"),
    ],
)  # fmt: skip
def test_masks_that_make_no_sense(tmp_path: Path, mask: Any, what: str) -> None:
    nodes = ([["x", 0, 0, {"mask": mask}]], [["l", 0, 0, {}]])
    inputs = [entrance("x", STEPS, FEATURES), typed("m", "bool", STEPS)]
    if what == "k":  # a recurrent layer takes the first of several
        assert fastlstm.load(written(tmp_path, [], nodes, inputs)).predict([X, MASK]).shape == (ROWS, UNITS)
        return
    with pytest.raises(FormatError, match=what):
        fastlstm.load(written(tmp_path, [], nodes, inputs))


@pytest.mark.parametrize("shape", [(STEPS + 1,), (STEPS, FEATURES + 1), (STEPS, FEATURES, 1)])
def test_masks_of_other_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(FormatError, match=r"layer 'l' \(LSTM\): it is given a mask of shape"):
        fastlstm.load(of_input(tmp_path, "bool", *shape))


def pooled(folder: Path, version: str) -> Path:
    """A mean over time, and a softmax over the steps, by a mask that is an input."""
    layers = [
        entrance("x", STEPS, FEATURES), typed("m", "float32", STEPS),
        layer("GlobalAveragePooling1D", "p", [[["x", 0, 0, {"mask": ["m", 0, 0]}]]]),
        layer("Softmax", "s", [[["m", 0, 0, {"mask": ["m", 0, 0]}]]], axis=-1),
    ]  # fmt: skip
    config = functional(layers, [["x", 0, 0], ["m", 0, 0]], [["p", 0, 0], ["s", 0, 0]], "Functional")
    return write_h5(folder / "m.h5", config, {}, version)


@pytest.mark.parametrize(
    ("version", "weighs", "half"),
    [("2.10.0", True, False), ("3.12.0", True, False), ("3.13.0", True, True), ("3.14.0", True, True), ("3.15.0", False, True)],
)
def test_numbers_of_masks_by_generation(tmp_path: Path, version: str, weighs: bool, half: bool) -> None:
    """Numbers other than 0 and 1 weigh, or count by whether they are 0, or whether they are above a half."""
    mask = np.array([[0, 0.25, 0.5, 0.75, 1]], np.float32)
    weights = mask if weighs else (mask != 0).astype(np.float32)
    mean = np.sum(X[:1] * weights[..., None], axis=1) / np.sum(weights)
    shown = np.where(mask > 0.5, 1.0, 0.0) if half else mask
    scores = np.exp(mask.astype(np.float64) - 1e9 * (1 - shown))
    for precision in ("float32", "float64"):
        p, s = fastlstm.load(pooled(tmp_path, version), precision=precision).predict([X[:1], mask])
        golden.assert_equal(p, mean)
        golden.assert_equal(s, (scores / np.sum(scores)).astype(np.float32))


# -- masks of the caller ----------------------------------------------------------------------------------------------------


def plain(folder: Path, version: str = "2.10.0", **options: Any) -> Path:
    return written(folder, [], ([["x", 0, 0, {}]], [["l", 0, 0, {}]]), [entrance("x", STEPS, FEATURES)], version, **options)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("version", ["2.2.4", "2.10.0", "3.15.0"])
def test_a_called_model_takes_a_mask(tmp_path: Path, expected: np.ndarray, precision: str, version: str) -> None:
    path, x = plain(tmp_path, version), np.where(MASK[..., None], X, 7).astype(np.float32)
    model = fastlstm.load(path, precision=precision)
    for mask in (MASK, MASK.astype(np.float32), MASK.tolist(), [MASK], {"x": MASK}, MASK[..., None]):
        golden.assert_equal(model(x, mask=mask), expected)
    golden.assert_equal(model(ZEROED), model.predict(ZEROED))
    golden.assert_equal(model(ZEROED, training=False, mask=None), model.predict(ZEROED))
    with patch("fastlstm.runtime.threads.SHARED_NANOSECONDS", 0):
        many = fastlstm.load(path, precision=precision, threads=2)(np.tile(x, (2000, 1, 1)), mask=np.tile(MASK, (2000, 1)))
    golden.assert_equal(many, np.tile(expected, (2000, 1)))


def test_a_stateful_model_takes_a_mask(tmp_path: Path) -> None:
    """Each of two batches goes on with its own part of the mask."""
    nodes = ([["x", 0, 0, {"mask": ["m", 0, 0]}]], [["l", 0, 0, {"mask": ["m", 0, 0]}]])
    inputs = [entrance("x", STEPS, FEATURES), typed("m", "bool", STEPS)]
    for one in inputs:
        one["config"]["batch_input_shape"][0] = 2
    (tmp_path / "given").mkdir()
    given = fastlstm.load(written(tmp_path / "given", [], nodes, inputs, stateful=True))
    path = written(tmp_path, [], ([["x", 0, 0, {}]], [["l", 0, 0, {}]]), inputs[:1], stateful=True)
    for precision in ("float32", "float64"):
        model = fastlstm.load(path, precision=precision)
        given.reset_states()
        for _ in range(2):
            golden.assert_equal(model(X, mask=MASK), given.predict([X, MASK]))


def added(folder: Path) -> Path:
    """A sum of two inputs before the LSTMs, and Dropout."""
    middle = [layer("Add", "a", [[["x", 0, 0, {}], ["y", 0, 0, {}]]]), layer("Dropout", "drop", [[["a", 0, 0, {}]]], rate=0.5)]
    return written(
        folder, middle, ([["drop", 0, 0, {}]], [["l", 0, 0, {}]]), [entrance("x", STEPS, FEATURES), entrance("y", STEPS, FEATURES)]
    )


def test_several_inputs_have_a_mask_each(tmp_path: Path, expected: np.ndarray) -> None:
    model, zeros = fastlstm.load(added(tmp_path)), np.zeros_like(X)
    golden.assert_equal(model([X, zeros], mask=[MASK, None]), expected)
    golden.assert_equal(model([X, zeros], mask=[None, MASK]), expected)
    golden.assert_equal(model([X, zeros], mask={"x": MASK, "y": np.ones_like(MASK)}), expected)
    with pytest.raises(InputError, match=r"mask: expected a list of 2 masks \(x, y\)"):
        model([X, zeros], mask=MASK)
    with pytest.raises(InputError, match="mask: expected a dict with the keys x, y"):
        model([X, zeros], mask={"x": MASK})


@pytest.mark.parametrize(
    ("mask", "what"),
    [
        (MASK[0], "expected shape"),
        (MASK[:, :3], r"expected shape \(4, 5\), True where a timestep is there, found \(4, 3\)"),
        (MASK[:3], "expected shape"),
        (np.ones((ROWS, STEPS, 2), bool), "expected shape"),
        (MASK * 0.5, "expected True and False"),
        (np.full(MASK.shape, np.nan), "expected True and False"),
        (np.full(MASK.shape, "x"), "expected True and False"),
        ([[True], [True, False]], "mask of input 'x'"),
        ("all", "mask of input 'x'"),
        ([MASK, MASK], "mask of input 'x'"),
    ],
    ids=str,
)  # fmt: skip
def test_masks_of_a_caller_that_do_not_fit(tmp_path: Path, mask: Any, what: str) -> None:
    with pytest.raises(InputError, match=what):
        fastlstm.load(plain(tmp_path))(X, mask=mask)


def test_sequences_of_different_lengths_have_no_mask(tmp_path: Path) -> None:
    path = written(tmp_path, [], ([["x", 0, 0, {}]], [["l", 0, 0, {}]]), [entrance("x", None, FEATURES)])
    with pytest.raises(InputError, match="mask: expected None beside a list of sequences"):
        fastlstm.load(path)([X[0], X[1, :3]], mask=MASK[:2])


def test_training_is_refused_where_it_changes_something(tmp_path: Path) -> None:
    model = fastlstm.load(plain(tmp_path))
    assert np.array_equal(model(X, training=True), model.predict(X))
    with pytest.raises(InputError, match=r"training: expected False, as training makes layer 'drop' \(Dropout\) random, found True"):
        fastlstm.load(added(tmp_path))([X, X], training=True)


def joined(folder: Path, version: str) -> Path:
    """A masked input joined with one that has no mask of its own."""
    middle = [
        layer("Masking", "mask", [[["x", 0, 0, {}]]], mask_value=0.0),
        layer("Concatenate", "c", [[["mask", 0, 0, {}], ["y", 0, 0, {}]]], axis=-1),
    ]  # fmt: skip
    return written(folder, middle, ([["c", 0, 0, {}]], [["l", 0, 0, {}]]), [entrance("x", STEPS, 2), entrance("y", STEPS, 1)], version)


def test_where_a_mask_would_meet_one_that_keras_3_has_written(tmp_path: Path, expected: np.ndarray) -> None:
    x = [X[..., :2], X[..., 2:]]
    golden.assert_equal(fastlstm.load(joined(tmp_path, "2.10.0"))(x, mask=[None, MASK]), expected)
    model = fastlstm.load(joined(tmp_path, "3.15.0"))
    with pytest.raises(UnsupportedError, match=r"layer 'c' \(Concatenate\): a mask that the caller gives meets there one"):
        model(x, mask=[None, MASK])
    golden.assert_equal(model(x, mask=[MASK, None]), model.predict(x))  # Masking makes its own
