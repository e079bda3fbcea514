"""What a job reads, computes and writes of a source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import lazy
from ...batches import KERAS_BATCH
from ...errors import InputError
from ...inputs import TensorInfo
from ...pipeline import Pipeline
from ...records import record
from ...spec import STRING
from .. import binding
from ..answers import named, outputs_of
from ..files.arrays import as_arrays
from ..files.base import Batch, Source
from ..files.kinds import ARRAYS
from ..predictor import Predictor, raw_inputs, refuse_dependent

if TYPE_CHECKING:
    import pyarrow as pa

    from .. import tables
else:
    pa, tables = map(lazy.module, ("pyarrow", "fastlstm.batch.tables"))

#: Bytes of a batch, of what goes in and what comes out, unless the caller says how many rows it has.
BATCH_BYTES = 8 << 20
LEAST_ROWS, MOST_ROWS = KERAS_BATCH, 1 << 15
#: What a value takes whose type tells no size, and what an axis is taken for that is open.
GUESSED_BYTES, GUESSED_SIZE = 32, 100
#: Says that all columns are kept.
ALL = "*"


@record(frozen=True)
class Options:
    """What a caller chooses of a job.

    Attributes
    ----------
    keep : tuple of str or None
        The columns of the source that stand beside the outputs, or ``("*",)`` for all; None: those that hold one value a row and that
        the model does not read.
    batch_rows : int or None
        Rows that are computed at once; None: as many as take some megabytes.
    processes : int
        That compute; 1: this one.
    overwrite : bool
        Begin anew, whatever an earlier job has left.
    input_kind, output_kind : str or None
        Of files; None: by their endings.
    part_seconds : float
        After so long, and of a long job after a twentieth of its time, what is computed is kept, so that a job that is stopped goes on
        from there.
    """

    keep: tuple[str, ...] | None = None
    batch_rows: int | None = None
    processes: int = 1
    overwrite: bool = False
    input_kind: str | None = None
    output_kind: str | None = None
    part_seconds: float = 10.0


@record(frozen=True)
class Plan:
    """What is done with each batch of a source.

    Attributes
    ----------
    columns : tuple of str
        Those that are read.
    keep : tuple of str or None
        Those that stand beside the outputs; None: of a row per step, what comes back.
    rows : int
        The most of a batch.
    arrays : bool
        Are the results arrays, in the shapes that predict gives?
    result_bytes : int
        What a row of the results takes, about.
    single_steps : bool
        Is each row a sequence of one timestep, of an input that takes any number of them? Who meant timesteps has left out ``key``.
    """

    columns: tuple[str, ...]
    keep: tuple[str, ...] | None
    rows: int
    arrays: bool = False
    result_bytes: int = GUESSED_BYTES
    single_steps: bool = False


def planned(predictor: Predictor, source: Source, options: Options, kind: str = "parquet") -> Plan:
    """The plan of a job.

    Parameters
    ----------
    predictor
        What computes.
    source
        What is read. It is told what its columns are.
    options
        The caller's.
    kind
        Of what is written.

    Raises
    ------
    InputError
        If a column is not there, or the model is none whose rows are computed alone.
    """
    refuse_dependent(predictor.path, predictor.model)
    infos = raw_inputs(predictor.model)
    keys = grouping(predictor)
    if source.schema is None:
        return _of_arrays(predictor, source, options, infos, kind in ARRAYS)
    for name, option in [(name, "--key") for name in keys] + [(name, "--keep") for name in options.keep or () if name != ALL]:
        if name not in source.names:
            raise InputError(f"{source.name}: expected a column {name!r} ({option}), found the columns {binding.listed(source.names)}")
    try:
        bound = binding.bound(predictor.inputs, infos, tables.table_of(source.schema.empty_table()), keys)
    except InputError as error:
        raise InputError(f"{source.name}: {error}") from error
    texts = [column for info in infos for column in bound[info.name] if info.dtype == STRING]
    numbers = [column for info in infos for column in bound[info.name] if info.dtype.startswith("float")]
    source.typed(numbers, texts)
    read = [column for columns in bound.values() for column in columns]
    if keys:
        if options.keep is not None:
            raise InputError("--keep: with --key there is a row for each key, beside which its steps' columns do not fit")
        keep: tuple[str, ...] | None = None
    elif options.keep is not None:
        keep = source.names if ALL in options.keep else tuple(dict.fromkeys(options.keep))
    else:
        keep = (
            () if kind == "npy" else tuple(one.name for one in source.schema if one.name not in read and not pa.types.is_nested(one.type))
        )
    rows = batch_rows(predictor, options, infos, [source.schema.field(name).type for name in dict.fromkeys(read)])
    single = not keys and any(_one_step(info, [source.schema.field(name).type for name in bound[info.name]]) for info in infos)
    given = output_bytes(predictor) + sum(_bytes(source.schema.field(name).type) for name in keep or ())
    return Plan(tuple(dict.fromkeys([*keys, *read, *(keep or ())])), keep, rows, kind in ARRAYS, given, single)


def _one_step(info: TensorInfo, types: Sequence[Any]) -> bool:
    """Are columns of one value each the features of a single timestep, where there may be more?"""
    if len(info.shape) == 1 or info.shape[1] is not None or None in info.shape[2:]:
        return False
    return len(types) == math.prod(size or 1 for size in info.shape[2:]) and not any(map(pa.types.is_nested, types))


def _of_arrays(predictor: Predictor, source: Source, options: Options, infos: Sequence[TensorInfo], arrays: bool) -> Plan:
    """The plan for a source of arrays, which are the inputs."""
    if predictor.inputs is not None:
        raise InputError(f"{source.name}: expected columns with names for --columns, found arrays; leave --columns out")
    if grouping(predictor) or options.keep not in (None, (), (ALL,)):
        option = "--key" if grouping(predictor) else "--keep"
        raise InputError(f"{source.name}: expected columns with names for {option}, found arrays; leave {option} out")
    keep = source.names if options.keep == (ALL,) else ()
    return Plan(source.names, keep, batch_rows(predictor, options, infos, []), arrays)


def grouping(predictor: Predictor) -> tuple[str, ...]:
    """The columns that tell which steps belong together, and in which order."""
    return (*predictor.key, *(() if predictor.order is None else (predictor.order,)))


def batch_rows(predictor: Predictor, options: Options, infos: Sequence[TensorInfo], types: Sequence[Any]) -> int:
    """How many rows are computed at once."""
    if options.batch_rows is not None:
        return options.batch_rows
    if grouping(predictor):
        return MOST_ROWS
    size = sum(map(_bytes, types)) if types else sum(_row_bytes(info) for info in infos)
    size += output_bytes(predictor)
    return max(LEAST_ROWS, min(MOST_ROWS, BATCH_BYTES // (1 if options.processes == 1 else 2) // max(1, size)))


def output_bytes(predictor: Predictor) -> int:
    """Bytes of what is computed of a row, about."""
    loaded = predictor.model
    return sum(_row_bytes(info) for info in (loaded.model if isinstance(loaded, Pipeline) else loaded).outputs)


def _row_bytes(info: TensorInfo) -> int:
    """Bytes of a row, about."""
    return math.prod(GUESSED_SIZE if size is None else size for size in info.shape[1:]) * 4


def _bytes(kind: Any) -> int:
    """Bytes of a value of a type, about."""
    if isinstance(kind, pa.BaseExtensionType):
        return _bytes(kind.storage_type)
    if pa.types.is_fixed_size_list(kind):
        return kind.list_size * _bytes(kind.value_type)
    if pa.types.is_nested(kind):
        return GUESSED_SIZE * sum(_bytes(kind.field(number).type) for number in range(kind.num_fields))
    try:
        return -(-kind.bit_width // 8)
    except ValueError:
        return GUESSED_BYTES


class Compute:
    """What a process does with a batch: the outputs, and the columns that are kept. Pickled with its predictor.

    Parameters
    ----------
    predictor
        What computes.
    """

    def __init__(self, predictor: Predictor):
        self.predictor = predictor

    def __call__(self, batch: Batch, plan: Plan) -> Batch:
        """Compute a batch.

        Parameters
        ----------
        batch
            The columns that were read.
        plan
            What is done with them.
        """
        result = self.predictor(batch)
        if plan.keep is not None:
            names = list(result) if isinstance(result, Mapping) else result.schema.names
            given = list(batch) if isinstance(batch, Mapping) else batch.schema.names
            chosen = [*plan.keep, *(name for name in names if name not in given)]
            result = {name: result[name] for name in chosen} if isinstance(result, Mapping) else result.select(chosen)
        return self._as_predicted(as_arrays(result)) if plan.arrays else result

    def _as_predicted(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs in the shapes that predict gives: a column of one value a row has fewer axes."""
        loaded = self.predictor.model
        shapes = {} if isinstance(loaded, Pipeline) else {info.name: info.shape for info in loaded.outputs}
        for name, column in named(self.predictor.outputs, outputs_of(loaded)).items() if shapes else ():
            shape = shapes[name][1:]
            if column in arrays and arrays[column].ndim == 1 and all(size == 1 for size in shape):
                arrays[column] = arrays[column].reshape(-1, *(size or 1 for size in shape))
        return arrays
