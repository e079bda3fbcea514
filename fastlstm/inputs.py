"""Turns what users pass to ``predict`` into the arrays that kernels read. Every refusal names argument, expected and found."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from . import lazy
from .errors import FastLSTMError, InputError
from .layers.base import nonzero
from .records import record
from .spec import STRING, WHOLE, Shape

if TYPE_CHECKING:
    from . import foreign, strings
else:
    foreign, strings = map(lazy.module, ("fastlstm.foreign", "fastlstm.strings"))

Rows = TypeVar("Rows", np.ndarray, list[np.ndarray])

#: NumPy's arrays have no more axes.
MOST_AXES = 64
#: What classes have whose objects give NumPy an array.
ARRAYS = ("__array__", "__array_interface__", "__array_struct__")
#: Classes that need no look at what their objects offer.
KNOWN = frozenset((np.ndarray, list, tuple, dict, str, bytes, int, float, bool, type(None)))
#: What numbers in lists are.
NUMBERS = (int, float, bool)
#: Axes of inputs that have timesteps of features.
MATRICES = 3
#: In place of lists that have more levels than an array could have axes.
TOO_DEEP = object()


#: Whole numbers of 64 bits are below.
LARGEST = 2.0**63
#: The largest whole number below which float32 holds all.
EXACT = 1 << 24


@record(frozen=True)
class TensorInfo:
    """An input or output of a model.

    Attributes
    ----------
    name : str
        Keras's name of it.
    shape : tuple
        Batch first; None = any.
    dtype : str
        "float32" or "float64"; of inputs "int32" where they hold ids alone; "string" for text; "int64" and the like where whole numbers
        are read or given as they are.
    vocabulary : int or None
        Ids must be below; None where it does not hold ids.
    declared : str
        The dtype that the file declares for an input.
    fed : bool
        Does Keras cast what is given straight to the declared dtype, not by way of float32?
    exact : bool
        Are whole numbers computed with as such, by operations of the graph?
    kept : bool
        Are whole numbers read as they are, however large?
    """

    name: str
    shape: Shape
    dtype: str
    vocabulary: int | None = None
    declared: str = field(default="float32", repr=False)
    fed: bool = field(default=False, repr=False)
    exact: bool = field(default=False, repr=False)
    kept: bool = field(default=False, repr=False)


class Ragged(NamedTuple):
    """Sequences of different lengths, padded to the longest for the kernels, which never compute the padding."""

    padded: np.ndarray  # (batch, longest, ...)
    lengths: np.ndarray  # (batch,)


class RaggedInputs(NamedTuple):
    """Several inputs, of which one or more have sequences of different lengths."""

    rows: tuple[list[np.ndarray], ...]  # of each input, one array a row


def gather(x: Any, infos: Sequence[TensorInfo], name: str = "x") -> list[np.ndarray] | Ragged | RaggedInputs:
    """Check ``x`` against the model's inputs and cast it as Keras does.

    Parameters
    ----------
    x
        What the caller passed.
    infos
        The inputs that the model has.
    name
        What the caller knows the argument as.

    Returns
    -------
    list of numpy.ndarray, Ragged or RaggedInputs
        C-contiguous arrays, one an input; Ragged for a list of sequences, RaggedInputs where one of several inputs is such a list.

    Raises
    ------
    InputError
        If ``x`` does not fit.
    """
    try:
        return _gathered(x, infos, name)
    except FastLSTMError:
        raise
    except Exception as error:
        raise unreadable(error, name) from error


def _gathered(x: Any, infos: Sequence[TensorInfo], name: str) -> list[np.ndarray] | Ragged | RaggedInputs:
    if type(x) not in KNOWN and len(infos) > 1:
        x = foreign.by_column(x)
    if isinstance(x, Mapping):
        values = by_name(x, infos, name)
        if len(infos) != 1:
            return _several(values, infos, name)
        (x,) = values
    if in_batches(x):
        raise InputError(f"{name}: expected one batch, found {type(x).__name__}, which gives several; predict and evaluate take it")
    if len(infos) == 1:
        info = infos[0]
        x = _read(_alone(x, info), info)
        if info.dtype == STRING:
            return [cast(strings.alone(x, info.shape), info)]
        if isinstance(x, (list, tuple)) and x:
            if len(x) == 1 and rank(x[0], info) == len(info.shape) and not _is_nested(x[0]):
                x = x[0]  # Keras's way: a list with the one input
            elif _is_ragged(x, info) or len({row.shape for row in x if isinstance(row, np.ndarray)}) > 1:
                return _pad([cast_row(row, n, info) for n, row in enumerate(x)], info)
        return [cast(x, info)]
    if not isinstance(x, (list, tuple)) or len(x) != len(infos):
        names = ", ".join(info.name for info in infos)
        found = f"{len(x)} of them" if isinstance(x, (list, tuple)) else type(x).__name__
        raise InputError(f"{name}: expected a list of {len(infos)} arrays ({names}) or a dict by these names, found {found}")
    return _several(x, infos, name)


def _several(values: Sequence[Any], infos: Sequence[TensorInfo], name: str) -> list[np.ndarray] | RaggedInputs:
    """Inputs given by their places."""
    values = [_read(value, info) for value, info in zip(values, infos, strict=True)]
    differing = [_differ(value, info) for value, info in zip(values, infos, strict=True)]
    if not any(differing):
        return _same_rows([cast(value, info) for value, info in zip(values, infos, strict=True)], infos, name)
    rows = [
        _alike([cast_row(row, n, info) for n, row in enumerate(value)], info) if differs else list(cast(value, info))
        for value, info, differs in zip(values, infos, differing, strict=True)
    ]
    return RaggedInputs(tuple(_same_rows(rows, infos, name)))


def _differ(value: Any, info: TensorInfo) -> bool:
    """Is an input a list of sequences whose lengths differ?"""
    if info.dtype == STRING or not isinstance(value, (list, tuple)) or not value or not _is_ragged(value, info):
        return False
    return len({len(row) for row in value}) > 1


def _alike(rows: list[np.ndarray], info: TensorInfo) -> list[np.ndarray]:
    """Rows of one dtype: of ids, some may have fractions."""
    dtype = next((row.dtype for row in rows if row.dtype.kind == "f"), np.dtype(info.dtype))
    return [row.astype(dtype, copy=False) for row in rows]


def of_one_row(x: Any) -> np.ndarray | None:
    """The batch that a list with one array, a row, stands for."""
    return x[0][np.newaxis] if type(x) is list and len(x) == 1 and type(x[0]) is np.ndarray else None


def cast(value: Any, info: TensorInfo) -> np.ndarray:
    """One input as a checked, C-contiguous array of the dtype that the model reads."""
    array = _array(value, info)
    if array.ndim == 1 and len(info.shape) == 2 and info.shape[1] in (1, None):
        array = array[:, np.newaxis]  # as Keras: a vector is a column
    if array.ndim != len(info.shape) or any(
        expected is not None and expected != found for expected, found in zip(info.shape[1:], array.shape[1:], strict=True)
    ):
        found = f"{shape_text(array.shape)}{_shape_hint(array, info, value)}"
        raise InputError(f"input {info.name!r}: expected shape {shape_text(info.shape)}, found {found}")
    if 0 in array.shape[1:]:
        raise InputError(f"input {info.name!r}: expected at least one timestep, found shape {shape_text(array.shape)}")
    return array if info.dtype == STRING else _typed(array, info)


def _shape_hint(array: np.ndarray, info: TensorInfo, value: Any) -> str:
    """What may be meant by an array of another shape."""
    if isinstance(value, (list, tuple)) and _matches(array.shape[2:], info.shape[1:]) and array.ndim == len(info.shape) + 1:
        return "; batches in a list are passed as iter(x)"
    if _matches(array.shape, info.shape[1:]):
        return "; for a single example pass numpy.asarray(x)[numpy.newaxis]"
    if array.ndim == len(info.shape) - 1 and info.shape[-1] == 1:
        return "; for one feature a timestep pass numpy.asarray(x)[..., numpy.newaxis]"
    if is_flat(array, info):
        sizes = ", ".join(map(str, known_sizes(info.shape)))
        return f"; for timesteps one after another pass numpy.asarray(x).reshape(-1, {sizes})"
    return ""


def _matches(found: Sequence[int], wanted: Shape) -> bool:
    """Are these sizes those of a shape?"""
    return len(found) == len(wanted) and all(size in (None, one) for one, size in zip(found, wanted, strict=True))


def is_flat(array: Any, info: TensorInfo) -> bool:
    """Does an array (rows, numbers) hold all numbers of an input of more axes in each row?"""
    sizes = known_sizes(info.shape)
    flat = isinstance(array, np.ndarray) and array.ndim == MATRICES - 1 < len(info.shape)
    return flat and len(sizes) == len(info.shape) - 1 and array.shape[1] == math.prod(sizes)


def cast_row(value: Any, number: int, info: TensorInfo) -> np.ndarray:
    """One sequence of a ragged list: (timesteps, ...), one rank less than the model's input."""
    array = _array(value, info, f" sequence {number}")
    expected = info.shape[1:]
    if array.ndim != len(expected) or expected[1:] != array.shape[1:] or expected[0] not in (None, array.shape[0]):
        raise InputError(
            f"input {info.name!r}: expected a list of sequences of shape {shape_text(expected)}, "
            f"found {shape_text(array.shape)} for sequence {number}{'; leave out its batch axis' if array.shape[:1] == (1,) else ''}"
        )
    if 0 in array.shape:
        raise InputError(f"input {info.name!r}: expected at least one timestep, found {shape_text(array.shape)} for sequence {number}")
    return _typed(array, info)


def _array(value: Any, info: TensorInfo, where: str = "") -> np.ndarray:
    if info.dtype == STRING:
        return strings.texts(value, f"input {info.name!r}{where}", info.shape)
    array = as_array(value, f"input {info.name!r}{where}", info.shape)
    if array.dtype.kind not in "biuf":
        found = "None" if value is None else f"{type(value).__name__} of dtype {array.dtype}"
        if array.size and isinstance(array.flat[0], (str, bytes)):
            found = f"text ({found})"
        hint = "; convert it first: x.astype(numpy.float32)" if array.size and array.ndim else ""
        if not array.ndim and callable(value):
            hint = "; call it, and pass the batches that it gives"
        raise InputError(f"input {info.name!r}{where}: expected numbers, found {found}{hint}")
    # Of what is broadcast, memory may tell sooner than a look at each number that it is too much.
    return np.ascontiguousarray(array) if 0 in array.strides and array.size > 1 else array


def _typed(array: np.ndarray, info: TensorInfo) -> np.ndarray:
    whole = info.declared in WHOLE
    if info.declared == "bool":
        array = nonzero(array)
    if array.dtype.kind == "f" and whole and info.fed:
        array = np.trunc(array)
    if info.exact and info.dtype == "float32" and array.dtype.kind in "iu" and array.size and max(array.max(), -array.min()) > EXACT:
        raise InputError(
            f"input {info.name!r}: expected whole numbers up to {EXACT}, which float32 holds, found {array.min()} to {array.max()}; "
            'load(..., precision="float64") computes with larger ones'
        )
    if info.kept:
        array = _floats(array, "float32") if array.dtype.kind == "f" and not info.fed else array
        return np.ascontiguousarray(_whole(array), dtype=info.dtype)
    if info.dtype != "int32":
        return _floats(_floats(array, "float32") if whole and array.dtype.kind == "f" else array, info.dtype)
    if array.dtype.kind == "f":
        array = _floats(array, "float64" if info.declared == "float64" or (info.fed and whole) else "float32")
    if array.size:
        low, high = array.min(), array.max()
        if not (low > -1 and high < info.vocabulary):  # so that NaN fails too; floats are cut to integers as Keras does
            raise InputError(
                f"input {info.name!r}: expected ids from 0 to {info.vocabulary - 1 if info.vocabulary else 0}, found {low} to {high}"
            )
    ids = np.ascontiguousarray(array, dtype=np.int32)
    # Keras masks what equals 0 before it cuts fractions off: where that matters the model reads the numbers as they are.
    return ids if whole or array.dtype.kind != "f" or not np.any((ids == 0) & nonzero(array)) else array


def _whole(array: np.ndarray) -> np.ndarray:
    """Numbers cut to whole ones; what is none, or is out of range, is the lowest, as TensorFlow has it."""
    if array.dtype.kind != "f":
        return array
    inside = (array >= -LARGEST) & (array < LARGEST)
    return np.where(inside, array, 0).astype(np.int64) + np.where(inside, 0, np.iinfo(np.int64).min)


def _floats(array: np.ndarray, dtype: str) -> np.ndarray:
    if array.dtype == dtype and array.flags.c_contiguous:
        return array
    with np.errstate(over="ignore"):  # beyond float32 is inf, as Keras's cast gives
        return np.ascontiguousarray(array, dtype=dtype)


def are_ids(arrays: Sequence[np.ndarray]) -> tuple[bool, ...]:
    """Which of a model's checked inputs are int32 ids."""
    return tuple(array.dtype == np.int32 for array in arrays)


def by_name(x: Mapping[str, Any], infos: Sequence[TensorInfo], name: str) -> list[Any]:
    """The values of a dict, in the order of the model's inputs, or outputs."""
    names = [info.name for info in infos]
    if set(x) != set(names):
        raise InputError(f"{name}: expected a dict with the keys {', '.join(names)}, found {', '.join(map(str, x)) or 'an empty one'}")
    return [x[key] for key in names]


def _same_rows(arrays: list[Rows], infos: Sequence[TensorInfo], name: str) -> list[Rows]:
    if len({len(array) for array in arrays}) > 1:
        found = ", ".join(f"{info.name!r} has {len(array)}" for info, array in zip(infos, arrays, strict=True))
        raise InputError(f"{name}: expected the same number of rows in every input, found {found}")
    return arrays


def _is_nested(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def rank(value: Any, info: TensorInfo) -> int:
    """Dimensions of nested lists, or of an array."""
    levels = 0
    while _is_nested(value) and levels < MOST_AXES:  # one that contains itself has no end
        if not value:
            return levels + 1
        value, levels = value[0], levels + 1
    return levels if levels == MOST_AXES else levels + _axes(value, info)


def _axes(value: Any, info: TensorInfo) -> int:
    if isinstance(value, (int, float)):
        return 0
    axes = getattr(value, "ndim", None)
    return axes if isinstance(axes, int) else as_array(value, f"input {info.name!r}", info.shape).ndim


def _is_ragged(rows: Sequence[Any], info: TensorInfo) -> bool:
    """Is it a list of sequences: arrays of one rank less, or nested lists whose lengths differ?"""
    axes = len(info.shape)
    if axes < 2 or any(rank(row, info) != axes - 1 for row in rows):
        return False
    return any(not _is_nested(row) for row in rows) or len({len(row) for row in rows}) > 1


def _pad(rows: list[np.ndarray], info: TensorInfo) -> Ragged:
    rows, lengths = _alike(rows, info), np.array([len(row) for row in rows], np.int64)
    padded = np.zeros((len(rows), max(int(lengths.max()), 1), *rows[0].shape[1:]), rows[0].dtype)
    for row, target in zip(rows, padded, strict=True):
        target[: len(row)] = row
    return Ragged(padded, lengths)


def as_array(value: Any, name: str, shape: Shape) -> np.ndarray:
    """Anything that NumPy takes as an array. InputError for what it does not, and for lists too deep for an array of about that shape."""
    expected = f"numbers of shape {shape_text(shape)}"
    with reading(name, expected):
        bounded = _bounded(plain(value, name), len(shape) + 2, name)
        if bounded is TOO_DEEP:
            raise InputError(f"{name}: expected {expected}, found lists nested more than {len(shape) + 2} deep")
        array = np.asarray(bounded)
        return foreign.widened(array) if array.dtype.kind == "V" else array


def plain(value: Any, name: str) -> Any:
    """Columns, tables and tensors of other libraries as arrays, or as a list of them where rows differ; all else as it is."""
    return value if type(value) in KNOWN or isinstance(value, np.generic) else foreign.plain(value, name)


def _read(value: Any, info: TensorInfo) -> Any:
    """What NumPy reads of one input.

    Where timesteps have one feature, columns hold numbers and no arrays of one: they get that axis. Where the input's sizes are fixed, as
    many columns of numbers, or lists so long, are its timesteps, one after another.
    """
    found, axes = plain(value, f"input {info.name!r}"), len(info.shape)
    if found is value or axes < MATRICES:
        return found
    if is_flat(found, info) and foreign.is_column(value):
        return found.reshape(len(found), *known_sizes(info.shape))
    if info.shape[-1] != 1:
        return found
    if isinstance(found, list):
        return [row[..., np.newaxis] if row.ndim == axes - 2 else row for row in found]
    return found[..., np.newaxis] if found.ndim == axes - 1 and foreign.is_column(value) else found


def _alone(x: Any, info: TensorInfo) -> Any:
    """Of a list with nothing in it but a column of lists of different lengths: the column."""
    if not isinstance(x, (list, tuple)) or len(x) != 1 or type(x[0]) in KNOWN:
        return x
    return x[0] if isinstance(plain(x[0], f"input {info.name!r}"), list) else x


def in_batches(x: Any) -> bool:
    """Is it an iterable of batches: a generator, a dataset of TensorFlow, a DataLoader of torch, ...?"""
    return type(x) not in KNOWN and foreign.in_batches(x)


def _bounded(value: Any, depth: int, name: str) -> Any:
    """Nested sequences as finite lists: TOO_DEEP where they have more levels.

    NumPy itself goes on until a sequence raises IndexError, whatever its length, and on all branches to its last axis: where lists
    contain themselves, for ever. It goes no deeper than to the first number.
    """
    if not _is_sequence(value) or (isinstance(value, (list, tuple)) and (not value or type(value[0]) in NUMBERS)):
        return value
    if not depth:
        return TOO_DEEP
    items = []
    for item in islice(value, len(value)):
        items.append(_bounded(plain(item, name), depth - 1, name))
        if items[-1] is TOO_DEEP:
            return TOO_DEEP
    return items


def _is_sequence(value: Any) -> bool:
    """Does NumPy look into it, item by item?"""
    if isinstance(value, (list, tuple)):
        return True
    kind = type(value)
    if isinstance(value, (str, Mapping)) or any(hasattr(kind, name) for name in ARRAYS) or _is_buffer(value):
        return False
    return hasattr(kind, "__len__") and hasattr(kind, "__getitem__")


def _is_buffer(value: Any) -> bool:
    """Does NumPy read its memory: bytes, array.array, ...?"""
    try:
        memoryview(value)
    except TypeError:
        return False
    except ValueError:  # it was one
        return True
    return True


def unreadable(error: Exception, name: str, expected: str = "numbers") -> InputError:
    """The InputError of an argument whose own class raised something, such as in ``__array__``, or that is larger than memory."""
    if isinstance(error, MemoryError):
        return InputError(f"{name}: expected no more than fits in memory, found more: {told(error) or 'out of memory'}")
    return InputError(f"{name}: expected {expected}, found what cannot be read: {type(error).__name__}: {told(error)}")


@contextmanager
def reading(name: str, expected: str = "numbers") -> Iterator[None]:
    """While an argument is read: whatever is raised is an InputError that names it."""
    try:
        yield
    except FastLSTMError:
        raise
    except Exception as error:
        raise unreadable(error, name, expected) from error


def positive(value: Any, name: str, *, most: int | None = None, expected: str = "a positive number") -> int:
    """A whole number above zero."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InputError(f"{name}: expected {expected}, found {told(value)}")
    if most is not None and value > most:
        raise InputError(f"{name}: expected {expected} up to {most}, found {told(value)}")
    return int(value)


def told(value: Any) -> str:
    """Describe an argument, or an error, in a message: briefly, and even if its own class cannot be printed."""
    try:
        return str(value)[:300] if isinstance(value, Exception) else reprlib.repr(value)
    except Exception:  # noqa: BLE001 - the message is about another error
        return f"{type(value).__name__} that cannot be printed"


def shape_text(shape: Sequence[int | None]) -> str:
    """A shape for people: (batch, 10, 1) with None as "any"."""
    sizes = ["any" if size is None else str(size) for size in shape]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"


def known_sizes(shape: Shape) -> tuple[int, ...]:
    """The shape of an array, less the batch."""
    return tuple(size for size in shape[1:] if size is not None)


def below(infos: Sequence[TensorInfo], ids: Sequence[bool]) -> list[int]:
    """Of each input: its ids are below, 0 where it is given as numbers."""
    return [info.vocabulary or 0 if whole else 0 for info, whole in zip(infos, ids, strict=True)]


def shapes_of(arrays: Sequence[np.ndarray]) -> tuple[tuple[int, ...], ...]:
    """Shapes of inputs, less the batch."""
    return tuple(x.shape[1:] for x in arrays)


def per_step(info: TensorInfo) -> bool:
    """Has an output as many timesteps as the input?"""
    return len(info.shape) > 1 and info.shape[1] is None
