"""Windows of a series: views of it, nothing is copied."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from .arguments import as_json, reading, told, whole

#: Below it Keras draws the seed of a shuffled data set.
SEEDS = 1_000_000


def as_series(data: Any, name: str) -> np.ndarray:
    """Data with time as the first axis."""
    with reading(name, "an array with time as its first axis"):
        array = np.asarray(data)
    if array.ndim == 0:
        raise InputError(f"{name}: expected an array with time as its first axis, found {told(data)}")
    return array


def sliding_windows(data: Any, length: int, stride: int = 1, sampling_rate: int = 1) -> np.ndarray:
    """All windows of a series, as a view of it.

    Parameters
    ----------
    data
        (timesteps, ...)
    length
        Timesteps of a window.
    stride
        Timesteps from the start of one window to that of the next.
    sampling_rate
        Timesteps from one of a window to the next.

    Returns
    -------
    numpy.ndarray
        (windows, length, ...), read-only; none where the series is shorter than a window.

    Examples
    --------
    >>> fastlstm.preprocessing.sliding_windows([1, 2, 3, 4, 5], length=3)
    array([[1, 2, 3],
           [2, 3, 4],
           [3, 4, 5]])
    """
    series = as_series(data, "data")
    length, stride = whole(length, "length"), whole(stride, "stride")
    spread = (length - 1) * whole(sampling_rate, "sampling_rate") + 1
    if spread > len(series):
        return np.empty((0, length, *series.shape[1:]), series.dtype)
    if spread == len(series):  # as live data has it: one window, at once
        window = series[np.newaxis, ::sampling_rate]
        window.flags.writeable = False
        return window
    windows = np.lib.stride_tricks.sliding_window_view(series, spread, axis=0)[::stride, ..., ::sampling_rate]
    return np.moveaxis(windows, -1, 1)


class Batches(Sequence[Any]):
    """Windows, and their targets, some at a time; made by :func:`fastlstm.preprocessing.timeseries_dataset_from_array`.

    A batch is ``x``, or ``(x, y)`` where there are targets: views, unless they are shuffled.
    """

    def __init__(self, windows: np.ndarray, targets: np.ndarray | None, batch_size: int | None, order: np.ndarray | None):
        self.windows = windows
        self.targets = targets
        self.batch_size = batch_size
        self.order = order

    def __len__(self) -> int:
        return len(self.windows) if self.batch_size is None else -(-len(self.windows) // self.batch_size)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        which: Any = number if self.batch_size is None else slice(number * self.batch_size, (number + 1) * self.batch_size)
        which = which if self.order is None else self.order[which]
        return self.windows[which] if self.targets is None else (self.windows[which], self.targets[which])

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))


def timeseries_dataset_from_array(
    data: Any, targets: Any, sequence_length: int, sequence_stride: int = 1, sampling_rate: int = 1, batch_size: int | None = 128,
    shuffle: bool = False, seed: int | None = None, start_index: int | None = None, end_index: int | None = None,
) -> Batches:  # fmt: skip
    """Windows of a series in batches, as ``keras.utils.timeseries_dataset_from_array`` makes them, but as NumPy arrays.

    Parameters
    ----------
    data
        (timesteps, ...)
    targets
        What belongs to the window that begins at each timestep; None: nothing.
    sequence_length, sequence_stride, sampling_rate
        As ``length``, ``stride`` and ``sampling_rate`` of :func:`sliding_windows`.
    batch_size
        Windows of a batch; None: windows come one by one.
    shuffle, seed
        Give the windows in random order. The same windows as in Keras, whose order also depends on TensorFlow.
    start_index, end_index
        The part of ``data`` to use.

    Returns
    -------
    Batches
        A sequence of ``x``, or of ``(x, y)`` where there are targets.

    Raises
    ------
    InputError
        Where Keras raises.
    """
    series = as_series(data, "data")
    check_bounds(len(series), sequence_stride, sampling_rate, start_index, end_index)
    start, end = start_index or 0, len(series) if end_index is None else end_index
    windows = sliding_windows(series[start:end], sequence_length, 1, sampling_rate)
    wanted = None if targets is None else as_series(targets, "targets")
    if wanted is not None:
        windows, wanted = windows[: len(wanted)], wanted[start:end]
        last = (len(windows) - 1) // sequence_stride * sequence_stride  # the window that begins last
        if last >= len(wanted):
            raise InputError(f"targets: expected one for each window from start_index={start} on, {last + 1} of them, found {len(wanted)}")
        wanted = wanted[: len(windows)]
    windows, wanted = windows[::sequence_stride], None if wanted is None else wanted[::sequence_stride]
    order = None
    if shuffle:
        order = np.arange(len(windows))
        chance = np.random.randint(SEEDS) if seed is None else seed  # noqa: NPY002 - Keras draws so
        with reading("seed", "a whole number or None"):
            np.random.RandomState(chance).shuffle(order)
    return Batches(windows, wanted, None if batch_size is None else whole(batch_size, "batch_size"), order)


def check_bounds(length: int, stride: Any, rate: Any, start: Any, end: Any) -> None:
    """Refuse what Keras refuses."""
    for name, value in (("sequence_stride", stride), ("sampling_rate", rate)):
        if whole(value, name) >= length:
            raise InputError(f"{name}: expected less than the {length} timesteps of data, found {value}")
    if start and not 0 <= whole(start, "start_index", 0) < length:
        raise InputError(f"start_index: expected less than the {length} timesteps of data, found {start}")
    if end and not (start or 0) < whole(end, "end_index", 1) < length:
        raise InputError(f"end_index: expected more than start_index and less than the {length} timesteps of data, found {end}")


class TimeseriesGenerator(Sequence[Any]):
    """Windows of a series and the targets that follow them, some at a time, as Keras's TimeseriesGenerator gives them.

    Parameters
    ----------
    data, targets
        (timesteps, ...) each.
    length
        Timesteps of ``data`` before a target that its window covers.
    sampling_rate, stride
        Of these, each so many; and timesteps from one window to the next.
    start_index, end_index
        The part of ``data`` to use; ``end_index`` is the last timestep that is a target.
    shuffle
        Draw windows at random, with ``numpy.random``.
    reverse
        The latest timestep of a window comes first.
    batch_size
        Windows of a batch.

    Raises
    ------
    InputError
        Where Keras raises.

    Examples
    --------
    >>> generator = fastlstm.preprocessing.TimeseriesGenerator(np.arange(10), np.arange(10), length=4, batch_size=3)
    >>> len(generator)
    2
    >>> x, y = generator[0]
    >>> x
    array([[0, 1, 2, 3],
           [1, 2, 3, 4],
           [2, 3, 4, 5]])
    >>> y
    array([4, 5, 6])
    """

    def __init__(
        self, data: Any, targets: Any, length: int, sampling_rate: int = 1, stride: int = 1, start_index: int = 0,
        end_index: int | None = None, shuffle: bool = False, reverse: bool = False, batch_size: int = 128,
    ):  # fmt: skip
        self.data, self.targets = as_series(data, "data"), as_series(targets, "targets")
        if len(self.data) != len(self.targets):
            raise InputError(f"targets: expected as many as timesteps of data, {len(self.data)}, found {len(self.targets)}")
        self.length, self.sampling_rate = whole(length, "length"), whole(sampling_rate, "sampling_rate")
        self.stride, self.batch_size = whole(stride, "stride"), whole(batch_size, "batch_size")
        self.start_index = whole(start_index, "start_index", 0) + length
        self.end_index = len(self.data) - 1 if end_index is None else whole(end_index, "end_index", 0)
        self.shuffle, self.reverse = shuffle, reverse
        if self.start_index > self.end_index:
            raise InputError(f"length: expected start_index + length up to end_index={self.end_index}, found {self.start_index}")
        if self.end_index >= len(self.data):
            raise InputError(f"end_index: expected less than the {len(self.data)} timesteps of data, found {end_index}")

    def __len__(self) -> int:
        return -(-(self.end_index - self.start_index + 1) // (self.batch_size * self.stride))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        windows = sliding_windows(self.data, self.length)[:, :: self.sampling_rate]
        first = self.length  # the target of the first window
        rows: Any
        if self.shuffle:
            rows = np.random.randint(self.start_index, self.end_index + 1, size=self.batch_size)  # noqa: NPY002 - as Keras
            which = rows - first
        else:
            begin = self.start_index + self.batch_size * self.stride * range(len(self))[index]
            end = min(begin + self.batch_size * self.stride, self.end_index + 1)
            rows, which = slice(begin, end, self.stride), slice(begin - first, end - first, self.stride)
        samples = windows[which]
        return samples[:, ::-1] if self.reverse else samples, self.targets[rows]

    def __iter__(self) -> Iterator[Any]:
        return (self[number] for number in range(len(self)))

    def get_config(self) -> dict[str, Any]:
        """The settings, and data and targets as JSON, as Keras gives them.

        Returns
        -------
        dict
        """
        with reading("data", "numbers that JSON holds"):
            held = {"data": json.dumps(self.data.tolist()), "targets": json.dumps(self.targets.tolist())}
        names = ("length", "sampling_rate", "stride", "start_index", "end_index", "shuffle", "reverse", "batch_size")
        return held | {name: getattr(self, name) for name in names}

    def to_json(self, **kwargs: Any) -> str:
        """All of it as JSON, as Keras writes it.

        Parameters
        ----------
        **kwargs
            For ``json.dumps``.

        Returns
        -------
        str
        """
        return as_json(self, **kwargs)
