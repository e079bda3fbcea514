"""Predictor: a model by its path, for engines that hand tables around."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import by_reference, lazy
from ..errors import InputError
from ..inputs import TensorInfo, positive, told
from ..model import Model
from ..pipeline import Pipeline
from ..records import changed
from ..spec import STRING
from . import answers, refusals, sequences
from .binding import Bound, bound, checked_inputs, joined, listed
from .loaded import KEPT, stamp_of
from .table import Table
from .tables import table_of
from .values import Answer, Values, spread, united

if TYPE_CHECKING:
    import pyarrow

    from . import ragged
else:
    ragged = lazy.module("fastlstm.batch.ragged")

#: What is done about nulls, unless it is a number.
POLICIES = ("error", "skip")
#: Options of its own.
OWN = ("inputs", "outputs", "threads", "nulls", "key", "order")
#: Options of loading.
LOADING = ("architecture", "by_name", "precision", "custom_layers", "custom_activations", "fold_limit", "max_bytes", "isolated", "part")
#: The name of a column of texts.
TEXT = "text"


class Predictor:
    """A model by its path, called with batches of any kind; the same kind comes back, with the outputs' columns added.

    It holds a path and options. The model is loaded once a process, when it is first needed, whichever Predictor asks; a file that was
    replaced is loaded anew. So a Predictor is pickled in about a hundred bytes, and can be called from several threads.

    Parameters
    ----------
    path
        The file: what :func:`fastlstm.load` or :meth:`fastlstm.Pipeline.load` takes as a path.
    inputs
        The columns of each input: the name of a column, a list of names of columns to put side by side, or a dict of these by input. None:
        the column of the input's name; of a model with one input, the only column that it could be.
    outputs
        The columns to add: a name, a list of names in the order of the model's outputs, or a dict {output: column} of those that are
        wanted. None: as the outputs are called.
    threads
        As for :func:`fastlstm.load`.
    nulls
        "error": refuse rows that hold a null. "skip": do not compute them; their outputs are null (NaN in NumPy). A number: takes the place
        of each null. NaN is a number.
    key, order
        A row is a timestep: the column, or list of columns, whose values tell sequences apart, and the column by which the steps of each
        are sorted (None: they are in order). A table with a row a sequence comes back: its key, and outputs.
    **loading
        Other arguments of :func:`fastlstm.load`: ``architecture``, ``by_name``, ``precision``, ``custom_layers``, ``custom_activations``,
        ``fold_limit``, ``max_bytes``, ``isolated``; and ``part``, a dict of its ``inputs`` and ``outputs``, which name a part of the model.

    Attributes
    ----------
    path : str
        The file, absolute.
    model : Model or Pipeline
        What is in it.

    Raises
    ------
    InputError
        If an argument is none of these. Whether they fit the model is told when it is loaded.

    Examples
    --------
    >>> predictor = fastlstm.batch.Predictor(fastlstm.demo.MODEL, inputs="months", outputs="forecast")
    >>> table = predictor({"station": np.array(["a", "b"]), "months": np.zeros((2, 24))})
    >>> table["station"], table["forecast"].shape
    (array(['a', 'b'], dtype='<U1'), (2, 12))
    >>> steps = {"station": np.array(["a", "b", "b"]), "month": np.array([1, 1, 2]), "spots": np.array([0.1, 0.2, 0.3])}
    >>> by_station = fastlstm.batch.Predictor(fastlstm.demo.MODEL, inputs="spots", key="station", order="month", outputs="y")
    >>> by_station(steps)["y"].shape
    (2, 12)
    """

    def __init__(
        self, path: str | os.PathLike[str], *, inputs: Any = None, outputs: Any = None, threads: int = 1, nulls: str | float = "error",
        key: str | Sequence[str] | None = None, order: str | None = None, **loading: Any,
    ):  # fmt: skip
        if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
            raise InputError(f"path: expected the path of a file, found {told(path)}")
        unknown = [name for name in loading if name not in LOADING]
        if unknown:
            raise InputError(f"{unknown[0]}: expected options among {', '.join((*OWN, *LOADING))}, found another")
        number = isinstance(nulls, (int, float, np.integer, np.floating)) and not isinstance(nulls, bool)
        if not number and not (isinstance(nulls, str) and nulls in POLICIES):
            raise InputError(f"nulls: expected 'error', 'skip' or a number, found {told(nulls)}")
        self.path = os.path.abspath(os.fspath(path))
        self.inputs = checked_inputs(inputs)
        self.outputs = answers.checked_outputs(outputs)
        self.threads = positive(threads, "threads")
        self.nulls = nulls if isinstance(nulls, str) else float(nulls)
        self.key, self.order = sequences.checked_key(key, order)
        self._loading = {name: value for name, value in loading.items() if value is not None}
        self.precision = loading.get("precision")
        self._model: Model[Any] | Pipeline | None = None

    # -- what it is -------------------------------------------------------------------------------------------------------

    @property
    def model(self) -> Model[Any] | Pipeline:
        """The model, or pipeline, in the file: loaded now unless this process has it."""
        try:
            stamp = stamp_of(self.path)
        except OSError:
            if self._model is not None:  # the file is gone, and was here
                return self._model
            stamp = None  # a checkpoint by its name; or loading says what is wrong
        self._model = KEPT.model(self.path, stamp, {**self._loading, "threads": self.threads})
        return self._model

    def __repr__(self) -> str:
        return f"<fastlstm.batch.Predictor {self.path!r}>"

    def __reduce__(self) -> Any:
        options: dict[str, Any] = {name: value for name, value in self._arguments().items() if value != DEFAULTS.get(name)}
        for name in ("custom_layers", "custom_activations"):
            if name in options:
                options[name] = by_reference.of(name, options[name])
        return _made, (type(self), self.path, options)

    def _arguments(self) -> dict[str, Any]:
        return {**self._loading, **{name: getattr(self, name) for name in DEFAULTS}}

    # -- what it does -----------------------------------------------------------------------------------------------------

    def predict(self, x: Any) -> Any:
        """What ``predict`` of the model, or pipeline, returns.

        Parameters
        ----------
        x
            What it takes.
        """
        return self.model.predict(x)

    def __call__(self, batch: Any) -> Any:
        """Compute the outputs of a batch.

        Parameters
        ----------
        batch
            An array: what :meth:`predict` takes. A dict of NumPy arrays, a pandas or polars DataFrame, a pyarrow Table or RecordBatch:
            columns by name. A pandas or polars Series, a pyarrow Array or ChunkedArray: the only input.

        Returns
        -------
        numpy.ndarray, dict, DataFrame, Series, Table, RecordBatch, Array or ChunkedArray
            The same kind: with columns added; of an array, what :meth:`predict` returns; of one column, the only output.

        Raises
        ------
        InputError
            If a column is not there or does not fit, or holds a null that is not provided for.
        """
        model = self.model
        refuse_dependent(self.path, model)
        return self._answered(batch, model)

    def in_order(self, batch: Any) -> Any:
        """The same of any model: of one whose rows depend on each other too, for callers who give whole batches, in their order.

        Parameters
        ----------
        batch
            As for a call.
        """
        return self._answered(batch, self.model)

    def _answered(self, batch: Any, model: Model[Any] | Pipeline) -> Any:
        """What a model answers to a batch."""
        if isinstance(batch, np.ndarray) and not self.key:
            return model.predict(batch)
        table = table_of(batch)
        found = answers.outputs_of(model)
        wanted = answers.named(self.outputs, found)
        infos = raw_inputs(model)
        apart = [*self.key, *([] if self.order is None else [self.order])]
        columns = bound(self.inputs, infos, table, apart)
        groups = sequences.grouped(table, self.key, self.order) if self.key else None
        to = table if groups is None else table.of(self.key, groups.first)
        check_names(to, wanted)
        kept, given = self._given(table, columns, infos, groups)
        made = dict(zip((output.name for output in found), self._computed(model, infos, given, found), strict=True))
        shapes = {output.name: output.shape for output in found}
        return to.with_answers(
            [Answer(name, made[one] if kept is None else spread(made[one], kept), shapes[one]) for one, name in wanted.items()]
        )

    def _given(
        self, table: Table, columns: Bound, infos: Sequence[TensorInfo], groups: sequences.Groups | None
    ) -> tuple[np.ndarray | None, list[Values]]:
        """Which rows, or sequences, are computed (None: all), and what each input is for these: nothing for none."""
        fill = None if isinstance(self.nulls, str) else self.nulls
        read = {name: table.values(name, fill) for used in columns.values() for name in used}
        for name, values in read.items():
            refuse_rows(name, values, self.nulls == "error")
        for info in infos:
            if info.dtype != STRING:
                refuse_text([(name, read[name]) for name in columns[info.name]], info)
        missing = united([values.missing for values in read.values()])
        if missing is not None and groups is not None:
            missing = groups.any(missing)
        kept = None if missing is None else ~missing
        if kept is not None and not kept.any():
            return kept, []
        if groups is not None:
            groups = groups if kept is None else groups.where(kept)
        elif kept is not None:
            read = {name: values.where(kept) for name, values in read.items()}
        if not table.rows and any(values.offsets is not None for values in read.values()):
            return kept, []  # whose lengths nothing tells
        if groups is not None:
            given = sequences.given(read, columns, infos, groups)
        else:
            given = [joined([(name, read[name]) for name in columns[info.name]], info) for info in infos]
        return kept, given if table.rows else []

    def _computed(
        self, model: Model[Any] | Pipeline, infos: Sequence[TensorInfo], given: list[Values], found: Sequence[answers.Output]
    ) -> list[Values]:  # fmt: skip
        """The outputs of rows."""
        if not given:
            return [answers.none(output) for output in found]
        if any(values.offsets is not None for values in given):
            return ragged.computed(model, infos, given, found)
        x = [values.array for values in given]
        y = answers.returned(model.predict(x[0] if len(x) == 1 else x))
        return [Values(answers.column(one, output)) for one, output in zip(y, found, strict=True)]

    def schema(self, schema: pyarrow.Schema) -> pyarrow.Schema:
        """The schema of the table that comes back of a table of some schema: what engines want to know before they call.

        Parameters
        ----------
        schema
            Of the tables that it is to be called with.

        Returns
        -------
        pyarrow.Schema

        Raises
        ------
        InputError
            If a column is not there, or cannot fit.
        """
        return self(schema.empty_table()).schema  # type: ignore[no-any-return]


#: What the arguments are unless a caller says otherwise.
DEFAULTS: dict[str, Any] = {"inputs": None, "outputs": None, "threads": 1, "nulls": "error", "key": [], "order": None}


def _made(kind: type[Predictor], path: str, options: dict[str, Any]) -> Predictor:
    """A Predictor out of a pickle."""
    given: dict[str, Any] = {name: one.functions if isinstance(one, by_reference.ByReference) else one for name, one in options.items()}
    return kind(path, **given)


def check_names(table: Table, wanted: dict[str, str]) -> None:
    """Refuse columns that are there already."""
    if table.alone and len(wanted) != 1:
        raise InputError(
            f"batch: expected a table, as the model answers with {listed(list(wanted))}, found one column; "
            f"outputs={{{next(iter(wanted))!r}: 'y'}} chooses one"
        )
    for name, column in wanted.items():
        if not table.alone and column in table.names:
            raise InputError(
                f"batch: expected no column {column!r} yet, which output {name!r} is to be, found one; "
                f"outputs={{{name!r}: {column + '_'!r}}} names it otherwise"
            )


def refuse_rows(name: Any, values: Values, nulls: bool) -> None:
    """Refuse rows that nothing can be computed of; and, if ``nulls``, those that are missing."""
    missing = values.missing
    if nulls and missing is not None and missing.any():
        raise refusals.nulls_found(name, int(missing.argmax()), int(missing.sum()))
    if values.offsets is not None:
        empty = values.lengths == 0 if missing is None else (values.lengths == 0) & ~missing
        if empty.any():
            raise refusals.empty_list(name, int(empty.argmax()))


def refuse_text(columns: Sequence[tuple[Any, Values]], info: TensorInfo) -> None:
    """Refuse columns of text for an input of numbers."""
    for name, values in columns:
        if values.array.dtype.kind in "SU" or (values.array.size and isinstance(values.array.flat[0], (str, bytes))):
            raise refusals.text_for_numbers(name, info.name)


def refuse_dependent(path: str, model: Model[Any] | Pipeline) -> None:
    """Refuse models of which a row gives something else beside other rows, or after them: who cuts batches would decide that."""
    executor = (model if isinstance(model, Model) else model.model).executor
    if executor.stateful:
        raise InputError(
            f"{path}: expected a model whose rows are computed alone, found a stateful one, whose states go on from batch to batch; "
            "fastlstm.load(path).stream(batch_size) keeps states apart, and fastlstm.load(path).predict(x) goes on from call to call"
        )
    if executor.crosses_rows or executor.all_at_once:
        raise InputError(
            f"{path}: expected a model whose rows are computed alone, found one whose rows depend on which others are in their batch; "
            "fastlstm.load(path).predict(x) computes whole batches, as Keras does"
        )


def raw_inputs(model: Model[Any] | Pipeline) -> tuple[TensorInfo, ...]:
    """The inputs of a model, or of a pipeline as its caller has them."""
    if isinstance(model, Model):
        return model.inputs
    spec, inputs = model.spec, model.model.inputs
    if spec.words is not None:
        return (changed(inputs[0], name=TEXT, shape=(None,), dtype=STRING),)
    if spec.window is not None and len(inputs[0].shape) > 1:
        return (changed(inputs[0], shape=(None, spec.window, *inputs[0].shape[2:])),)
    return inputs
