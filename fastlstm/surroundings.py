"""What stands around a network in a pipeline: texts become ids, numbers are scaled and cut into windows; outputs become answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np

from .errors import InputError
from .inputs import TensorInfo, as_array, plain, reading, shape_text, told
from .preprocessing.labels import as_array as as_labels
from .preprocessing.scaling import scaled, unscaled
from .preprocessing.sequences import pad_sequences
from .preprocessing.text import Tokenizer
from .preprocessing.timeseries import sliding_windows
from .spec import STRING, PipelineSpec, Scaler, Shape, Words

#: Axes of sequences of features.
SEQUENCES = 3
#: Labels that a single output tells apart; and of a list in a line.
BINARY = 2
MOST_SHOWN = 10


class Labelled(NamedTuple):
    """The labels of a batch, and how probable each label is for each of its rows.

    Attributes
    ----------
    labels : numpy.ndarray
        The most probable label of each row; of each timestep, where the network has an output for each.
    probabilities : numpy.ndarray
        (batch, labels), in the order of ``Pipeline.labels``.

    Examples
    --------
    >>> answer = fastlstm.surroundings.Labelled(np.array(["b"]), np.array([[0.25, 0.75]]))
    >>> labels, probabilities = answer
    >>> answer.confidence
    array([0.75])
    """

    labels: Any
    probabilities: Any

    @property
    def confidence(self) -> Any:
        """The probability of each label that was chosen."""
        if isinstance(self.probabilities, list):
            return [part.max(axis=-1) for part in self.probabilities]
        return self.probabilities.max(axis=-1)


class Surroundings:
    """Both sides of a network, as a PipelineSpec says, for its inputs and outputs.

    Raises
    ------
    InputError
        If they do not fit each other.
    """

    def __init__(self, spec: PipelineSpec, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo]):
        self.spec = spec
        self.input = inputs[0]
        self.tokenizer = None if spec.words is None else tokenizer_of(spec.words)
        self.texts = spec.words is not None or self.input.dtype == STRING
        self.several = len(inputs) > 1
        self.reads = spec.words is not None or spec.scaler is not None or spec.window is not None
        check_input(spec, inputs)
        check_output(spec, outputs)

    # -- before -----------------------------------------------------------------------------------------------------------

    def prepare(self, x: Any) -> Any:
        """What the network gets of raw input: an array, or a list of arrays whose lengths differ."""
        if self.tokenizer is not None:
            return self._ids(texts_of(x))
        if self.texts and not self.several:
            return texts_of(x)
        return self._numbers(plain(x, "x")) if self.reads else x

    def cast(self, prepared: Any) -> Any:
        """The same in the model's own dtype: for one row that is a matter of whether Python computes it or compiled code."""
        info = self.input
        if not isinstance(prepared, np.ndarray) or (info.dtype, info.declared, prepared.dtype) != ("float32", "float32", np.float64):
            return prepared
        with np.errstate(over="ignore"):  # beyond float32 is inf, as where a model casts
            return np.ascontiguousarray(prepared, np.float32)

    def _ids(self, texts: list[Any]) -> Any:
        """Texts as ids of words."""
        assert self.tokenizer is not None
        spec, rows = self.spec, self.tokenizer.texts_to_sequences(texts)
        maxlen = spec.maxlen or (self.input.shape[1] if len(self.input.shape) > 1 else None)
        columns = len(self.input.shape) == SEQUENCES
        if maxlen is not None or not rows:
            ids = pad_sequences(rows, maxlen or 1, padding=spec.padding, truncating=spec.truncating)
            return ids[..., np.newaxis] if columns else ids
        found = [np.array(row or [0], np.int32) for row in rows]  # a text without words is one step of padding
        found = [row[:, np.newaxis] for row in found] if columns else found
        return np.stack(found) if len({len(row) for row in found}) == 1 else found

    def _numbers(self, x: Any) -> Any:
        """Raw numbers, scaled and in windows; a list of series of different lengths, each alone."""
        with reading("x"):
            several = isinstance(x, (list, tuple)) and len(x) > 1 and differ(x)
        if several:
            if self.spec.window is not None or self.input.shape[1] is not None:
                raise InputError("x: expected one series, or windows of one length, found several series; give them one by one")
            return [self._numbers(series)[0] for series in x]
        array = as_array(x, "x", self.input.shape)
        if array.dtype.kind not in "biuf":
            raise InputError(f"x: expected numbers, found {told(x)} of dtype {array.dtype}")
        return self._windows(array) if self._is_series(array) else self._scaled(self._batch(array))

    def _features(self) -> int:
        """Numbers of a timestep."""
        shape = self.input.shape
        return (shape[-1] or 1) if len(shape) >= SEQUENCES else 1

    def _is_series(self, array: np.ndarray) -> bool:
        """Is it a series: (timesteps,), or (timesteps, features)?"""
        rank, features = len(self.input.shape), self._features()
        if array.ndim == 1:
            return rank == SEQUENCES or self.spec.window is not None
        if rank == SEQUENCES:
            return array.ndim == rank - 1 and array.shape[1] == features
        return array.ndim == rank and self.spec.window not in (None, 1) and array.shape[1] == 1

    def _windows(self, series: np.ndarray) -> np.ndarray:
        """Every window of a series."""
        features, rank = self._features(), len(self.input.shape)
        if series.ndim == 1:
            series = series[:, np.newaxis]
        if series.shape[1] != features:
            raise InputError(f"x: expected a series of {features} features, (timesteps, {features}), found {shape_text(series.shape)}")
        length = self.spec.window or self.input.shape[1] or max(len(series), 1)
        if len(series) < length:
            raise InputError(f"x: expected a series of at least {length} timesteps, as long as a window, found {len(series)}")
        by_step = self.spec.scaler is None or self.spec.scaler.columns in (0, 1, features)
        windows = sliding_windows(self._scaled(series) if by_step else series, length)
        windows = windows if rank == SEQUENCES else windows[..., 0]
        return windows if by_step else self._scaled(windows)

    def _batch(self, array: np.ndarray) -> np.ndarray:
        """Rows, with an axis for their features where they have one each."""
        shape = self.input.shape
        if array.ndim == len(shape) - 1 == SEQUENCES - 1 and self._features() == 1:
            array = array[..., np.newaxis]
        window = self.spec.window
        if window is not None and array.ndim == len(shape) and array.shape[1] != window:
            raise InputError(f"x: expected windows of {window} timesteps, found {shape_text(array.shape)}")
        return array

    def _scaled(self, array: np.ndarray, name: str = "x") -> np.ndarray:
        return array if self.spec.scaler is None else along_columns(scaled, self.spec.scaler, array, name)

    def step(self, x_t: Any, name: str) -> Any:
        """One timestep, or a chunk of some, scaled."""
        if self.spec.scaler is None:
            return x_t
        array = as_array(x_t, name, (None, self._features()))
        if array.dtype.kind not in "biuf":
            raise InputError(f"{name}: expected numbers, found {told(x_t)} of dtype {array.dtype}")
        return self._scaled(array, name)

    # -- after ------------------------------------------------------------------------------------------------------------

    def finish(self, y: Any) -> Any:
        """The answer: labels with probabilities, values in the user's units, or the network's output as it is."""
        spec = self.spec
        if spec.labels:
            if isinstance(y, list):
                parts = [self.finish(part) for part in y]
                return Labelled([part.labels for part in parts], [part.probabilities for part in parts])
            found = probabilities(y, len(spec.labels), spec.logits)
            return Labelled(as_labels(spec.labels)[found.argmax(axis=-1)], found)
        if spec.inverse is None:
            return y
        return [self.finish(part) for part in y] if isinstance(y, list) else along_columns(unscaled, spec.inverse, y, "output")


def scaler_text(scaler: Scaler) -> str:
    """The steps of a scaler, and of how many columns."""
    steps = ", ".join(step.op if len(step.values) != 1 else f"{step.op} {step.values[0]:.6g}" for step in scaler.steps) or "nothing"
    return steps + (f" ({scaler.columns} columns)" if scaler.columns > 1 else "")


def tokenizer_of(words: Words) -> Tokenizer:
    """The tokenizer that has these words."""
    found = Tokenizer(words.num_words, words.filters, words.lower, words.split or " ", words.char_level, words.oov_token)
    found.split = words.split  # type: ignore[assignment] # None, where blanks separate words
    found.word_index = dict(words.index)
    found.index_word = {number: word for word, number in words.index.items()}
    return found


def texts_of(x: Any) -> list[Any]:
    """Raw texts: a text, or a list or array of them; (batch, 1) too. A text may be a list of its words."""
    if isinstance(x, (str, bytes)):
        x = [x]
    if isinstance(x, (Mapping, Set)) or not hasattr(x, "__iter__"):  # a set's rows have no order
        raise InputError(f"x: expected a text, or a list or array of them, found {told(x)}")
    with reading("x", "texts"):
        if hasattr(x, "__array__"):
            array = np.atleast_1d(np.asarray(x))
            x = (array[:, 0] if array.ndim == SEQUENCES - 1 and array.shape[1] == 1 else array).tolist()
        rows = list(x)
    found = []
    for number, row in enumerate(rows):
        text = row.decode("utf-8", "replace") if isinstance(row, bytes) else row
        if not isinstance(text, str) and not (isinstance(text, list) and all(isinstance(word, str) for word in text)):
            raise InputError(f"x: expected texts, found {told(row)} in row {number}")
        found.append(text)
    return found


def differ(x: Sequence[Any]) -> bool:
    """Are these sequences whose lengths differ?"""
    if not all(hasattr(row, "__len__") and not isinstance(row, (str, bytes)) for row in x):
        return False
    return len({len(row) for row in x}) > 1


def probabilities(y: np.ndarray, labels: int, logits: bool) -> np.ndarray:
    """Probabilities of labels, along the last axis, of what a network gives."""
    if logits and y.shape[-1] == 1:
        with np.errstate(over="ignore"):
            y = 1 / (1 + np.exp(-y))
    elif logits:
        powers = np.exp(y - y.max(axis=-1, keepdims=True))
        y = powers / powers.sum(axis=-1, keepdims=True)
    return np.concatenate([1 - y, y], axis=-1) if y.shape[-1] == 1 and labels == BINARY else y


def along_columns(rule: Any, scaler: Scaler, array: np.ndarray, name: str) -> np.ndarray:
    """Apply a scaler along the last axis, or along all axes but the rows' where it was fitted on so many columns."""
    found: np.ndarray
    if array.ndim == 0:
        raise InputError(f"{name}: expected numbers along an axis of columns at least, found a single one")
    if scaler.columns in (0, 1, array.shape[-1]):
        found = rule(scaler, array)
    elif scaler.columns == math.prod(array.shape[1:]):
        found = rule(scaler, array.reshape(len(array), scaler.columns)).reshape(array.shape)
    else:
        raise InputError(f"{name}: expected {scaler.columns} columns, as the scaler was fitted on, found shape {shape_text(array.shape)}")
    return found


def fits_columns(columns: int, shape: Shape) -> bool:
    """May an array of such a shape have so many columns? None: any size."""
    sizes = shape[1:]
    if columns in (0, 1) or not sizes or sizes[-1] in (None, columns) or None in sizes:
        return True
    return columns == math.prod(size or 1 for size in sizes)


def check_input(spec: PipelineSpec, inputs: Sequence[TensorInfo]) -> None:
    """Refuse what cannot stand before a network of such inputs."""
    info, reads = inputs[0], spec.words is not None or spec.scaler is not None or spec.window is not None
    if reads and len(inputs) > 1:
        names = ", ".join(each.name for each in inputs)
        raise InputError(f"model: expected one input, which tokenizer, scaler and window prepare, found {len(inputs)}: {names}")
    if info.dtype == STRING and reads:
        raise InputError(f"tokenizer, scaler, window: expected none, as the model's input {info.name!r} takes texts itself")
    if spec.words is not None and (spec.scaler is not None or spec.window is not None):
        raise InputError("tokenizer: expected texts or numbers to prepare, found a scaler or a window too")
    if spec.maxlen is not None and spec.words is None:
        raise InputError("maxlen: expected a tokenizer too, found none")
    length = info.shape[1] if len(info.shape) > 1 else None
    if spec.words is not None and (len(info.shape) not in (2, SEQUENCES) or info.shape[2:] not in ((), (1,), (None,))):
        raise InputError(f"tokenizer: expected a model that takes ids, (batch, timesteps), found one of shape {shape_text(info.shape)}")
    for name, size in (("maxlen", spec.maxlen), ("window", spec.window)):
        if size is not None and length not in (None, size):
            raise InputError(f"{name}: expected {length}, as the model's input has shape {shape_text(info.shape)}, found {size}")
    if spec.scaler is not None and not fits_columns(spec.scaler.columns, info.shape):
        raise InputError(
            f"scaler: expected one fitted on the columns of the model's input, {shape_text(info.shape)}, found {spec.scaler.columns}"
        )


def check_output(spec: PipelineSpec, outputs: Sequence[TensorInfo]) -> None:
    """Refuse what cannot stand after a network of such outputs."""
    name = "labels" if spec.labels else "inverse"
    if spec.labels and spec.inverse is not None:
        raise InputError("labels: expected labels or inverse, found both")
    if not spec.labels and spec.inverse is None:
        return
    if len(outputs) > 1:
        raise InputError(f"{name}: expected a model of one output, found {len(outputs)}: {', '.join(info.name for info in outputs)}")
    shape = outputs[0].shape
    size = shape[-1] if len(shape) > 1 else None
    if spec.labels and size is not None and len(spec.labels) != (BINARY if size == 1 else size):
        wanted = f"{size} labels, one an output" if size != 1 else "2 labels, of which the output tells the second one's probability"
        raise InputError(f"labels: expected {wanted}, found {len(spec.labels)}")
    if spec.inverse is not None and not fits_columns(spec.inverse.columns, shape):
        raise InputError(
            f"inverse: expected a scaler of 1 or {size} columns, as the model's output has shape {shape_text(shape)}, "
            f"found {spec.inverse.columns}; name the column that it predicts: inverse=0, or inverse=[0, 2] for several outputs"
        )


# -- in words ---------------------------------------------------------------------------------------------------------------


def before(spec: PipelineSpec, texts: bool = False) -> Iterator[str]:
    """What is done before a network, line by line; ``texts``: it takes texts itself."""
    if spec.words is not None:
        words = spec.words
        known = len(words.index) if not words.num_words else min(len(words.index), words.num_words - 1)
        unknown = f"{words.oov_token!r} for unknown ones" if words.oov_token is not None else "without unknown ones"
        yield f"{'characters' if words.char_level else 'words'} to ids: {known:,} known, {unknown}"
    elif texts:
        yield "texts, as they are"
    if spec.words is not None and spec.maxlen is not None:
        yield f"ids to a length of {spec.maxlen}: padding {spec.padding}, truncating {spec.truncating}"
    if spec.scaler is not None:
        yield f"numbers scaled: {scaler_text(spec.scaler)}"
    if spec.window is not None:
        yield f"a series to windows of {spec.window} timesteps"


def after(spec: PipelineSpec) -> Iterator[str]:
    """What is done after it."""
    if spec.logits:
        yield "outputs to probabilities: " + ("softmax, or sigmoid of a single one" if len(spec.labels) == BINARY else "softmax")
    if spec.labels:
        shown = ", ".join(map(str, spec.labels[:MOST_SHOWN])) + (", ..." if len(spec.labels) > MOST_SHOWN else "")
        yield f"probabilities to {len(spec.labels)} labels: {shown}"
    if spec.inverse is not None:
        yield f"outputs to units of the data: {scaler_text(spec.inverse)}, backwards"
