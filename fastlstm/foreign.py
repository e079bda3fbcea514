"""Columns, tables and tensors of other libraries become arrays, by their own methods: no library is imported for it."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, NoReturn

import numpy as np

from .errors import InputError

#: What classes have whose objects give NumPy an array.
ARRAYS = ("__array__", "__array_interface__", "__array_struct__")
#: Kinds of NumPy's dtypes that are numbers.
NUMBERS = "biuf"
#: Levels of lists within the cells of a column that are looked into.
DEPTH = 16
#: DLPack's number of the CPU.
CPU = 1


def plain(value: Any, where: str) -> Any:
    """What NumPy reads of an object: arrays, or a list of arrays where the rows of a column differ; or the object as it is.

    Parameters
    ----------
    value
        Anything.
    where
        What it is, for messages.

    Raises
    ------
    InputError
        If it has missing values, holds no numbers, or is not where NumPy can read it.
    """
    reader = of_library(type(value))
    return by_protocol(value, where) if reader is None else reader(value, where)


def refuse(where: str, found: str, advice: str = "", expected: str = "numbers") -> NoReturn:
    """Say what was found in place of numbers, and what makes them of it."""
    raise InputError(f"{where}: expected {expected}, found {found}{'; ' if advice else ''}{advice}")


def of_library(kind: type) -> Callable[[Any, str], Any] | None:
    """What reads objects of a class, by the library that it or a class below it is of."""
    for one in kind.__mro__[:-1]:
        reader = READERS.get(str(one.__module__).partition(".")[0])
        if reader is not None:
            return reader
    return None


def named(kind: type, *names: str) -> bool:
    """Is it a class of such a name, or a subclass of one?"""
    return any(one.__name__ in names for one in kind.__mro__)


# -- batches ------------------------------------------------------------------------------------------------------------------


def in_batches(x: Any) -> bool:
    """Does it give one batch after another: an iterator, a dataset of TensorFlow, a DataLoader of torch, a Sequence of Keras, ...?"""
    kind = type(x)
    if isinstance(x, (list, tuple, str, bytes, Mapping, Set)) or any(hasattr(kind, name) for name in (*ARRAYS, "__dlpack__")):
        return False
    return is_keras_sequence(x) or (hasattr(kind, "__iter__") and not hasattr(kind, "__getitem__"))


def is_keras_sequence(x: Any) -> bool:
    """Is it a ``keras.utils.PyDataset``, ``keras.utils.Sequence``, or a class that has what these have?"""
    return hasattr(type(x), "__getitem__") and hasattr(type(x), "on_epoch_end")


# -- objects by what they offer -----------------------------------------------------------------------------------------------


def by_protocol(value: Any, where: str) -> Any:
    """What has ``__array__`` is left to NumPy, what has none is read by DLPack."""
    kind = type(value)
    if hasattr(kind, "__dlpack_device__") and hasattr(kind, "__dlpack__"):
        arrays = any(hasattr(kind, name) for name in ARRAYS)
        if int(value.__dlpack_device__()[0]) == CPU:
            return value if arrays else np.from_dlpack(value)
        try:
            return np.asarray(value) if arrays else np.from_dlpack(value)  # of another device, some copy it themselves
        except Exception:  # noqa: BLE001 - whatever the class raises: its memory is not read
            refuse(where, f"{kind.__name__} in the memory of another device", advice="copy it first: x.get()")
    if any(hasattr(kind, name) for name in ARRAYS):
        return value
    if hasattr(kind, "__arrow_c_stream__"):
        refuse(where, f"{kind.__name__}, which only Arrow reads", advice="pass pyarrow.table(x)")
    if hasattr(kind, "__arrow_c_array__"):
        refuse(where, f"{kind.__name__}, which only Arrow reads", advice="pass pyarrow.array(x)")
    return value


def symbolic(where: str, kind: type) -> NoReturn:
    """Refuse a tensor that has no numbers."""
    refuse(where, f"{kind.__name__}, a tensor of a graph, which holds none; call it with arrays, outside of what traces functions")


# -- rows ---------------------------------------------------------------------------------------------------------------------


def of_cells(cells: Sequence[Any]) -> Any:
    """Arrays or lists, one a row, as one array; as a list of arrays where their shapes differ."""
    rows = [of_cell(cell, DEPTH) for cell in cells]
    return np.stack(rows) if len({row.shape for row in rows}) == 1 else rows


def of_cell(cell: Any, depth: int) -> np.ndarray:
    """One cell, perhaps arrays of arrays."""
    array = np.asarray(cell)
    if array.dtype == object and array.ndim and array.size and depth and all(hasattr(one, "__len__") for one in array):
        return np.stack([of_cell(one, depth - 1) for one in array])
    return array


def in_rows(flat: np.ndarray, levels: list[np.ndarray | int], where: str) -> Any:
    """The values of nested lists as an array, or a list of arrays.

    Parameters
    ----------
    flat
        The values, one after another; or rows of them, where they are records.
    levels
        From the outermost on: how long all lists of a level are, or each.
    """
    sizes = [size_of(one) for one in levels]
    for level, size in zip(levels[1:], sizes[1:], strict=True):
        if size is None and not isinstance(level, int):
            refuse(where, f"lists of {level.min()} to {level.max()} in the rows", expected="lists of one length within the rows")
    inner = [size or 0 for size in sizes[1:]]
    inner += flat.shape[1:]
    if sizes[0] is not None:
        return flat.reshape(-1 if 0 not in (sizes[0], *inner) else 0, sizes[0], *inner)
    assert not isinstance(levels[0], int)
    return np.split(flat.reshape(int(levels[0].sum()), *inner), np.cumsum(levels[0])[:-1])


def records(fields: Sequence[Any], where: str) -> np.ndarray:
    """The fields of records, side by side."""
    if not fields or any(isinstance(field, list) or field.ndim > 1 for field in fields):
        refuse(where, "lists in them", expected="records of numbers")
    return np.stack(fields, axis=1)


def size_of(level: np.ndarray | int) -> int | None:
    """How long all lists of a level are; None where they differ."""
    if isinstance(level, int):
        return level
    if not level.size:
        return 1  # no list at all, of which none has another length
    return int(level[0]) if (level == level[0]).all() else None


def of_table(names: Sequence[Any], columns: Sequence[Any], where: str, stacked: str) -> Any:
    """Columns of numbers side by side; one that holds an array a row, as it is.

    Parameters
    ----------
    names, columns
        Of the table.
    stacked
        What makes an array of one that has several columns of arrays.
    """
    nested = [isinstance(column, list) or column.ndim > 1 for column in columns]
    if len(columns) == 1:
        return columns[0] if nested[0] else columns[0][:, np.newaxis]
    if any(nested):
        name = names[nested.index(True)]
        found, expected = f"several, of which {name!r} holds an array in each row", "columns of numbers, or one of arrays"
        if not all(nested):
            refuse(where, found, expected=expected, advice=f"pass the input's column alone: x[{name!r}]")
        refuse(where, found, expected=expected, advice=f"where they are features: {stacked}")
    numeric = [column.dtype.kind in NUMBERS for column in columns]
    if any(numeric) and not all(numeric):
        odd = numeric.index(False)
        found = f"{columns[odd].dtype} beside columns of numbers"
        refuse(column_of(where, names[odd]), found, advice="pass the columns that the model reads alone, x[[name, ...]]")
    return np.stack(columns, axis=1) if columns else np.zeros((0, 0))


def is_column(x: Any) -> bool:
    """Is it a column or a table, whose rows are rows without doubt?"""
    return of_library(type(x)) in (of_pandas, of_polars, of_pyarrow)


def by_column(x: Any) -> Any:
    """A table as a dict of its columns; anything else as it is."""
    if of_library(type(x)) in (of_pandas, of_polars) and named(type(x), "DataFrame"):
        return {name: x[name] for name in x.columns}
    if of_library(type(x)) is of_pyarrow and named(type(x), "Table", "RecordBatch"):
        return {name: x.column(number) for number, name in enumerate(x.schema.names)}
    return x


def column_of(where: str, name: Any) -> str:
    """A column of a table, for messages."""
    return f"{where}, column {reprlib.repr(name)}"


def widened(array: np.ndarray) -> np.ndarray:
    """An array of a type that NumPy has not, bfloat16 or float8 of ml_dtypes, as float32, which holds them all."""
    return array.astype(np.float32) if array.dtype.type.__module__.partition(".")[0] == "ml_dtypes" else array


# -- pandas -------------------------------------------------------------------------------------------------------------------


def of_pandas(x: Any, where: str) -> Any:
    """A DataFrame, a Series or an Index; nullable and Arrow-backed columns too."""
    if not named(type(x), "DataFrame"):
        return pandas_column(x, where) if hasattr(x, "dtype") and hasattr(x, "isna") else x
    if all(isinstance(dtype, np.dtype) and dtype.kind in NUMBERS for dtype in x.dtypes):
        return x.to_numpy()
    columns = [pandas_column(x.iloc[:, number], column_of(where, name)) for number, name in enumerate(x.columns)]
    return of_table(list(x.columns), columns, where, "numpy.stack([numpy.stack(x[name].to_numpy()) for name in x.columns], axis=-1)")


def pandas_column(column: Any, where: str) -> Any:
    """An array, or a list of arrays."""
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind != "O":
        return column.to_numpy()
    numbers = getattr(dtype, "numpy_dtype", None)  # of nullable and of Arrow's dtypes
    numeric = numbers is not None and np.dtype(numbers).kind in NUMBERS
    empty = np.asarray(column.isna())
    if empty.any() and numeric and np.dtype(numbers).kind == "b":
        refuse(where, f"a missing value in row {empty.argmax()}", advice="fill it first: x.fillna(False)")
    if empty.any() and numeric:
        refuse(where, f"a missing value in row {empty.argmax()}", advice="fill it first: x.fillna(0)")
    if empty.any():
        refuse(where, f"a missing value in row {empty.argmax()}", advice="leave out such rows: x.dropna()")
    if numeric:
        return column.to_numpy(dtype=numbers)
    cells = np.asarray(column)
    nested = cells.dtype == object and cells.size and hasattr(cells[0], "__len__") and not isinstance(cells[0], (str, bytes, Mapping))
    return of_cells(list(cells)) if nested else cells


# -- polars -------------------------------------------------------------------------------------------------------------------


def of_polars(x: Any, where: str) -> Any:
    """A DataFrame or a Series."""
    if named(type(x), "LazyFrame"):
        refuse(where, "a LazyFrame, which is not computed yet", advice="pass x.collect()")
    if named(type(x), "DataFrame"):
        columns = [polars_column(column, column_of(where, column.name)) for column in x.get_columns()]
        return of_table(x.columns, columns, where, "numpy.stack([numpy.stack(x[name].to_numpy()) for name in x.columns], axis=-1)")
    return polars_column(x, where) if named(type(x), "Series") else x


def polars_column(column: Any, where: str) -> Any:
    """An array, or a list of arrays."""
    levels: list[np.ndarray | int] = []
    while hasattr(column.dtype, "inner"):
        polars_nulls(column, where, levels)
        if hasattr(column.dtype, "size"):
            levels.append(int(column.dtype.size))
        else:
            levels.append(column.list.len().to_numpy())
            column = column.filter(column.list.len() > 0)  # where others become an empty value
        column = column.explode()
    polars_nulls(column, where, levels)
    if hasattr(column.dtype, "fields"):  # records: features by name
        flat = records([polars_column(one, column_of(where, one.name)) for one in column.struct.unnest().get_columns()], where)
    else:
        flat = (column.cast(float) if column.dtype.is_decimal() else column).to_numpy()
    return in_rows(flat, levels, where) if levels else flat


def polars_nulls(column: Any, where: str, levels: Sequence[Any]) -> None:
    """Refuse missing values, at one level of lists."""
    if not column.null_count():
        return
    if levels:
        refuse(
            where,
            "a missing value within a row",
            advice="fill it first: x.cast(polars.List(float)).list.eval(polars.element().fill_null(0))",
        )
    found = f"a missing value in row {column.is_null().arg_max()}"
    if column.dtype.is_numeric():
        refuse(where, found, advice="fill it first: x.fill_null(0)")
    refuse(where, found, advice="leave out such rows: x.drop_nulls()")


# -- Arrow --------------------------------------------------------------------------------------------------------------------


def of_pyarrow(x: Any, where: str) -> Any:
    """A Table or RecordBatch, an Array or a ChunkedArray."""
    if named(type(x), "Table", "RecordBatch"):
        columns = [arrow_column(x.column(number), column_of(where, name)) for number, name in enumerate(x.schema.names)]
        return of_table(x.schema.names, columns, where, "numpy.stack([x[name].to_pylist() for name in x.schema.names], axis=-1)")
    return arrow_column(x, where) if hasattr(x, "null_count") else x


def arrow_column(column: Any, where: str) -> Any:
    """An array, or a list of arrays."""
    levels: list[np.ndarray | int] = []
    while True:
        if hasattr(column, "combine_chunks"):
            column = column.combine_chunks()
        if column.null_count:
            arrow_nulls(column, where, levels)
        if hasattr(column, "to_numpy_ndarray"):  # tensors of one shape
            return column.to_numpy_ndarray()
        if hasattr(column, "storage"):
            column = column.storage
        elif hasattr(column, "dictionary_decode"):
            column = column.dictionary_decode()
        elif hasattr(column, "value_lengths"):
            fixed = getattr(column.type, "list_size", None)
            levels.append(column.value_lengths().to_numpy() if fixed is None else int(fixed))
            column = column.flatten()
        else:
            break
    if named(type(column), "StructArray"):  # records: features by name
        fields = [(column.type.field(number).name, column.field(number)) for number in range(column.type.num_fields)]
        flat = records([arrow_column(one, column_of(where, name)) for name, one in fields], where)
    else:
        flat = (column.cast("double") if "Decimal" in type(column).__name__ else column).to_numpy(zero_copy_only=False)
    return in_rows(flat, levels, where) if levels else flat


def arrow_nulls(column: Any, where: str, levels: Sequence[Any]) -> NoReturn:
    """Refuse missing values, at one level of lists."""
    if not levels:
        place = column.is_null().to_numpy(zero_copy_only=False).argmax()
        refuse(where, f"a missing value in row {place}", advice="leave out such rows: x.drop_null()")
    found = "a missing value within a row"
    if isinstance(levels[-1], int):
        size = levels[-1]
        refuse(where, found, advice=f"fill it first: pyarrow.FixedSizeListArray.from_arrays(x.flatten().fill_null(0), {size})")
    refuse(where, found, advice="fill it first: type(x).from_arrays(x.offsets, x.values.fill_null(0))")


# -- tensors ------------------------------------------------------------------------------------------------------------------


def of_torch(x: Any, where: str) -> Any:
    """A tensor in the memory of the CPU, with its gradient left behind; nested ones as a list of their parts."""
    if named(type(x), "PackedSequence"):
        refuse(where, "a PackedSequence, whose rows lie mixed", advice="pass torch.nn.utils.rnn.unpack_sequence(x)")
    if named(type(x), "Dataset"):
        refuse(
            where, "a Dataset of single rows", advice="pass torch.utils.data.DataLoader(x, batch_size=32)", expected="arrays, or batches"
        )
    if not hasattr(x, "detach"):
        return x
    if x.device.type == "meta":
        symbolic(where, type(x))
    if x.device.type != "cpu":
        refuse(where, f"a tensor on the device {x.device}", advice="pass x.cpu()")
    if x.is_nested:
        return [of_torch(part, where) for part in x.unbind()]
    if x.is_quantized:
        refuse(where, "a quantised tensor", advice="pass x.dequantize()")
    if str(x.layout) != "torch.strided":
        refuse(where, f"a tensor of layout {x.layout}", advice="pass x.to_dense()")
    x = x.detach()
    if str(x.dtype).startswith(("torch.bfloat16", "torch.float8")):  # which NumPy has not; float32 holds them all
        x = x.float()
    return x.resolve_conj().resolve_neg().numpy()


def of_tensorflow(x: Any, where: str) -> Any:
    """A tensor that holds numbers; a ragged one as a list of its rows."""
    kind = type(x)
    if named(kind, "SparseTensor"):
        refuse(where, "a SparseTensor", advice="pass tensorflow.sparse.to_dense(x)")
    if named(kind, "RaggedTensor"):
        return of_ragged(x, where)
    if named(kind, "SymbolicTensor", "KerasTensor") or (hasattr(kind, "__array__") and not hasattr(x, "numpy")):
        symbolic(where, kind)
    return x


def of_ragged(x: Any, where: str) -> Any:
    """Rows of different lengths."""
    if not hasattr(x.flat_values, "numpy"):
        symbolic(where, type(x))
    levels = [np.asarray(lengths) for lengths in x.nested_row_lengths()]
    flat = np.asarray(x.flat_values)
    found = in_rows(np.arange(len(flat)), list(levels), where)  # which values each row has, as these may be arrays themselves
    return [flat[places] for places in found]


def of_keras(x: Any, where: str) -> Any:
    """Variables; a tensor of a graph is refused."""
    if named(type(x), "KerasTensor"):
        symbolic(where, type(x))
    return x


def of_jax(x: Any, where: str) -> Any:
    """Arrays of any device; what stands for one while a function is traced is refused."""
    if named(type(x), "Tracer"):
        symbolic(where, type(x))
    if hasattr(x, "todense") and not hasattr(type(x), "__array__"):
        refuse(where, f"{type(x).__name__}, which is sparse", advice="pass x.todense()")
    return x


def of_scipy(x: Any, where: str) -> Any:
    """Sparse arrays and matrices are refused."""
    if hasattr(x, "toarray"):
        refuse(where, f"{type(x).__name__}, which is sparse", advice="pass x.toarray()")
    return x


#: By the name of the package that a class is of.
READERS: Mapping[str, Callable[[Any, str], Any]] = {
    "pandas": of_pandas, "polars": of_polars, "pyarrow": of_pyarrow, "torch": of_torch, "tensorflow": of_tensorflow, "keras": of_keras,
    "tf_keras": of_keras, "jax": of_jax, "jaxlib": of_jax, "scipy": of_scipy,
}  # fmt: skip
