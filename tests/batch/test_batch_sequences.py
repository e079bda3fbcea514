"""A row per timestep: sequences by key, in any order of rows, and batches that are cut anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from advice import follows
from hypothesis import given
from hypothesis import strategies as st

import fastlstm
from fastlstm.batch import Predictor, hashing, ragged, sequences
from fastlstm.batch.sequences import Grouper
from fastlstm.errors import InputError

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

COLUMNS = ["a", "b", "c"]
#: A dict of NumPy arrays as each kind of table.
KINDS: dict[str, Callable[[dict[str, np.ndarray]], Any]] = {
    "dict": dict,
    "table": pa.table,
    "record batch": pa.RecordBatch.from_pydict,
    "pandas": pd.DataFrame,
    "pandas with Arrow": lambda columns: pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype),
    "polars": pl.DataFrame,
}
#: Whole numbers as keys of each type.
KEYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "numbers": lambda keys: keys,
    "small numbers": lambda keys: keys.astype(np.int16),
    "large numbers": lambda keys: keys.astype(np.uint64) + np.uint64(2**63),
    "texts": lambda keys: np.array([f"key {key}" for key in keys.tolist()]),
    "floats": lambda keys: keys / 4,
    "moments": lambda keys: keys.astype("M8[ms]"),
}


def steps_of(lengths: list[int], keys: np.ndarray | None = None, seed: int = 0) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
    """Sequences, and their steps as columns, in order."""
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=(length, 3)).astype(np.float32) for length in lengths]
    values = np.concatenate(rows)
    numbers = np.repeat(np.arange(len(lengths)) if keys is None else keys, lengths)
    step = np.concatenate([np.arange(length) for length in lengths])
    return rows, {"key": numbers, "step": step, **{name: values[:, n].copy() for n, name in enumerate(COLUMNS)}}


def listed(column: Any) -> list[Any]:
    return column.to_pylist() if hasattr(column, "to_pylist") else list(column)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("keys", sorted(KEYS))
def test_each_kind_of_table_and_key(models: Callable[[str], Path], kind: str, keys: str) -> None:
    rows, columns = steps_of([3, 1, 5, 3])
    columns["key"] = KEYS[keys](columns["key"])
    shuffled = np.random.default_rng(1).permutation(12)
    batch = KINDS[kind]({name: column[shuffled] for name, column in columns.items()})
    found = Predictor(models("any_length"), inputs=COLUMNS, outputs="y", key="key", order="step")(batch)
    assert type(found) is type(batch)
    first = list(dict.fromkeys(np.repeat(np.arange(4), [3, 1, 5, 3])[shuffled].tolist()))  # in the order in which they begin
    assert listed(found["key"]) == list(dict.fromkeys(listed(batch["key"])))
    expected = fastlstm.load(models("any_length")).predict([rows[n] for n in first])
    assert np.array_equal(np.array([list(y) for y in listed(found["y"])], np.float32), expected)
    assert len(found["key"]) == 4


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.randoms(), st.sampled_from(["any_length", "each_step", "convolved"]))
def test_any_order_of_rows(models: Callable[[str], Path], lengths: list[int], random: Any, name: str) -> None:
    rows, columns = steps_of(lengths)
    order = list(range(sum(lengths)))
    random.shuffle(order)
    table = pa.table({name: column[order] for name, column in columns.items()})
    found = Predictor(models(name), inputs=COLUMNS, outputs="y", key="key", order="step")(table)
    expected = fastlstm.load(models(name)).predict(rows)
    for key, y in zip(found["key"].to_pylist(), found["y"].to_pylist(), strict=True):
        assert np.array_equal(np.array(y, np.float32), expected[key])


def test_without_order_rows_stay_in_theirs(models: Callable[[str], Path]) -> None:
    rows, columns = steps_of([3, 2])
    mixed = np.array([3, 0, 1, 4, 2])
    found = Predictor(models("any_length"), inputs=COLUMNS, outputs="y", key="key")({name: one[mixed] for name, one in columns.items()})
    assert found["key"].tolist() == [1, 0]
    assert np.array_equal(found["y"], fastlstm.load(models("any_length")).predict(rows)[::-1])


@pytest.mark.parametrize(
    "order",
    [
        lambda step: step.astype(np.uint8), lambda step: step / 3, lambda step: step.astype("M8[ms]"), lambda step: step.astype("m8[ms]"),
        lambda step: -(step.astype(np.int64)) - 5, lambda step: step.astype(np.uint64) + np.uint64(2**63 - 1),
    ],
    ids=["small", "floats", "moments", "spans", "negative", "large"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["dict", "table", "pandas", "polars"])
def test_what_can_be_an_order(models: Callable[[str], Path], kind: str, order: Callable[[np.ndarray], np.ndarray]) -> None:
    rows, columns = steps_of([3, 2])
    columns["step"] = order(columns["step"])
    backwards = columns["step"][1] < columns["step"][0]
    batch = KINDS[kind]({name: column[::-1].copy() for name, column in columns.items()})
    found = Predictor(models("any_length"), inputs=COLUMNS, outputs="y", key="key", order="step")(batch)
    wanted = [row[::-1] if backwards else row for row in rows[::-1]]
    expected = fastlstm.load(models("any_length")).predict(wanted)
    assert np.array_equal(np.array([list(y) for y in listed(found["y"])], np.float32), expected)


def test_equal_places_keep_the_order_of_rows(models: Callable[[str], Path]) -> None:
    rows, columns = steps_of([4, 2])
    columns["step"] = np.array([0, 0, 1, 1, 0, 0])
    found = Predictor(models("any_length"), inputs=COLUMNS, outputs="y", key="key", order="step")(columns)
    assert np.array_equal(found["y"], fastlstm.load(models("any_length")).predict(rows))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_several_columns_are_the_key(models: Callable[[str], Path], kind: str) -> None:
    rows, columns = steps_of([2, 3, 1])
    columns["shop"] = np.array(["x", "y", "x"])[columns["key"]]
    columns["item"] = np.array([1, 1, 2])[columns["key"]]
    del columns["key"]
    shuffled = np.array([5, 0, 2, 1, 3, 4])
    batch = KINDS[kind]({name: column[shuffled] for name, column in columns.items()})
    found = Predictor(models("any_length"), inputs=COLUMNS, outputs="y", key=["shop", "item"], order="step")(batch)
    assert listed(found["shop"]) == ["x", "x", "y"]
    assert listed(found["item"]) == [2, 1, 1]
    expected = fastlstm.load(models("any_length")).predict([rows[2], rows[0], rows[1]])
    assert np.array_equal(np.array([list(y) for y in listed(found["y"])], np.float32), expected)


def test_a_list_a_step_and_one_length(models: Callable[[str], Path]) -> None:
    rows, columns = steps_of([5, 5, 5])
    values = np.stack([columns.pop(name) for name in COLUMNS], axis=1)
    table = pa.table({**columns, "values": pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 3)})
    for name in ("fixed", "any_length"):
        found = Predictor(models(name), outputs="y", key="key", order="step")(table)
        expected = fastlstm.load(models(name)).predict(np.stack(rows))
        assert np.array_equal(np.array(found["y"].to_pylist(), np.float32).reshape(expected.shape), expected)


def test_inputs_without_timesteps(models: Callable[[str], Path]) -> None:
    """Are the same in all rows of a key."""
    rows, columns = steps_of([3, 2, 3])
    facts = np.random.default_rng(1).random((3, 2), np.float32)
    facts[1, 0] = np.nan
    columns |= {"d": facts[columns["key"], 0], "e": facts[columns["key"], 1]}
    mixed = np.random.default_rng(2).permutation(8)
    predictor = Predictor(models("several"), inputs={"series": COLUMNS, "facts": ["d", "e"]}, key="key", order="step")
    found = predictor({name: column[mixed] for name, column in columns.items()})
    y, z = fastlstm.load(models("several")).predict([[rows[n] for n in found["key"]], facts[found["key"]]])
    assert np.array_equal(found["y"], y[:, 0], equal_nan=True)
    assert np.array_equal(found["z"], z, equal_nan=True)
    columns["d"] = columns["d"].copy()
    columns["d"][7] += 1
    with pytest.raises(
        InputError, match=r"expected the same in all rows of a key, as input \(any, 2\) has no timesteps, found another value in row"
    ):
        predictor(columns)


def test_ids_by_steps(models: Callable[[str], Path]) -> None:
    ids = [np.array([3, 4]), np.array([7]), np.array([1, 2, 3])]
    batch = {"key": np.repeat([0, 1, 2], [2, 1, 3]), "word": np.concatenate(ids)}
    found = Predictor(models("ids"), outputs="y", key="key")(batch)
    assert np.array_equal(found["y"], fastlstm.load(models("ids")).predict(ids)[:, 0])


def test_nulls_in_steps(models: Callable[[str], Path]) -> None:
    """A sequence with one is not computed: none is made shorter unasked."""
    rows, columns = steps_of([2, 3, 2])
    table = pa.table(columns).set_column(3, "b", pa.array([None if n == 3 else one for n, one in enumerate(columns["b"].tolist())]))
    with pytest.raises(InputError, match="column 'b': expected no nulls, found one in row 3"):
        Predictor(models("any_length"), inputs=COLUMNS, key="key")(table)
    found = Predictor(models("any_length"), inputs=COLUMNS, outputs="y", key="key", nulls="skip")(table)
    expected = fastlstm.load(models("any_length")).predict([rows[0], rows[2]])
    assert found["y"][1].as_py() is None
    assert np.array_equal(np.array([found["y"][0].as_py(), found["y"][2].as_py()], np.float32), expected)
    rows[1][1, 1] = 2
    found = Predictor(models("any_length"), inputs=COLUMNS, outputs="y", key="key", nulls=2)(table)
    assert np.array_equal(np.array(found["y"].to_pylist(), np.float32), fastlstm.load(models("any_length")).predict(rows))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_no_steps(models: Callable[[str], Path], kind: str) -> None:
    _, columns = steps_of([2])
    full = KINDS[kind](columns)
    batch = {name: one[:0] for name, one in full.items()} if isinstance(full, dict) else full[:0]
    found = Predictor(models("any_length"), inputs=COLUMNS, outputs="y", key="key", order="step")(batch)
    assert len(found["key"]) == len(found["y"]) == 0


def test_schema_of_keys(models: Callable[[str], Path]) -> None:
    table = pa.table(steps_of([2])[1])
    predictor = Predictor(models("any_length"), inputs=COLUMNS, outputs="y", key="key", order="step")
    assert predictor.schema(table.schema).equals(predictor(table).schema)
    assert predictor.schema(table.schema).names == ["key", "y"]
    with pytest.raises(InputError, match=r"of columns 'a', 'b': expected what fits"):  # told before there are rows
        Predictor(models("any_length"), inputs=["a", "b"], key="key").schema(table.schema)


@pytest.mark.parametrize("kind", ["dict", "table", "pandas", "pandas with Arrow", "polars"])
def test_what_is_refused(models: Callable[[str], Path], kind: str) -> None:
    def predicted(columns: dict[str, Any], name: str = "any_length", **options: Any) -> Any:
        return Predictor(models(name), **{"inputs": COLUMNS, "key": "key", "order": "step", **options})(KINDS[kind](columns))

    _, columns = steps_of([2, 3])
    with pytest.raises(InputError, match="key: expected a column 'k', found the columns 'key', 'step', 'a', 'b', 'c'"):
        predicted(columns, key=["key", "k"])
    with pytest.raises(InputError, match="order: expected a column 't', found the columns"):
        predicted(columns, order="t")
    nulls = np.array([1, None, 2, 2, 2], object)
    with pytest.raises(
        InputError, match="key: expected a value in every row of column 'key', found a null in row 1; leave such rows out first"
    ):
        predicted({**columns, "key": nulls if kind == "dict" else nulls.tolist()})
    with pytest.raises(
        InputError, match="order: expected a value in every row of column 'step', found a null in row 1; leave such rows out first"
    ):
        predicted({**columns, "step": nulls if kind == "dict" else nulls.tolist()})
    with pytest.raises(InputError, match="order: expected numbers, dates or times in column 'step', found"):
        predicted({**columns, "step": np.array(list("abcde"))})
    with pytest.raises(InputError, match=r"expected sequences of 5 steps, as input \(any, 5, 3\), found one of 2, whose first row is 0"):
        predicted(columns, "fixed")
    with pytest.raises(InputError, match=r"of columns 'a', 'b': expected what fits \(any, any, 3\), found \(steps, 2\)"):
        predicted(columns, inputs=["a", "b"])
    with pytest.raises(InputError, match=r"of column 'a': expected what fits \(any, any, 3\), found one number a step"):
        predicted(columns, inputs="a")
    with pytest.raises(InputError, match=r"outputs=\{'dense_2': 'key_'\} names it otherwise"):
        predicted(columns, outputs="key")


def test_a_column_alone_has_no_key(models: Callable[[str], Path]) -> None:
    for batch in (pa.array([1.0]), pd.Series([1.0]), pl.Series([1.0])):
        with pytest.raises(InputError, match="key: expected a column 'key', found one column that stands by itself"):
            Predictor(models("any_length"), key="key")(batch)
    with pytest.raises(InputError, match="batch: expected"):
        Predictor(models("any_length"), key="key")(np.zeros((1, 2, 3)))


# -- a table that comes batch by batch --------------------------------------------------------------------------------------------


def cut(batch: Any, first: int, last: int) -> Any:
    return {name: column[first:last] for name, column in batch.items()} if isinstance(batch, dict) else batch[first:last]


def regrouped(batches: list[Any], key: Any = "key") -> Iterator[Any]:
    grouper = Grouper(key)
    for batch in batches:
        yield from grouper.add(batch)
    yield from grouper.end()


def cuts(batch: Any, rows: int, size: int) -> list[Any]:
    return [cut(batch, first, min(first + size, rows)) for first in range(0, rows, size)]


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_batches_of_whole_keys(kind: str, size: int) -> None:
    lengths = [3, 1, 1, 7, 2]
    _, columns = steps_of(lengths)
    found = list(regrouped(cuts(KINDS[kind](columns), 14, size)))
    assert all(type(one) is type(KINDS[kind](columns)) for one in found)
    keys = [np.asarray(one["key"]).tolist() for one in found]
    assert np.concatenate(keys).tolist() == columns["key"].tolist()
    assert np.concatenate([np.asarray(one["step"]) for one in found]).tolist() == columns["step"].tolist()
    assert sum(len(set(one)) for one in keys) == len(lengths)  # no key is in two of them
    assert max(map(len, keys)) <= size + max(lengths)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=12), st.integers(1, 10), st.sampled_from(sorted(KEYS)), st.randoms())
def test_any_batches(lengths: list[int], size: int, keys: str, random: Any) -> None:
    """Of keys in order, and in none."""
    numbers = list(range(len(lengths)))
    random.shuffle(numbers)
    _, columns = steps_of(lengths, np.array(numbers))
    columns["key"] = KEYS[keys](columns["key"])
    found = pa.concat_tables(regrouped(cuts(pa.table(columns), sum(lengths), size)))
    assert found.equals(pa.table(columns))


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=12), st.integers(1, 4), st.sampled_from(sorted(KEYS)), st.sampled_from(sorted(KINDS))
)
def test_a_key_that_comes_back_is_seen(numbers: list[int], size: int, keys: str, kind: str) -> None:
    runs = [one for n, one in enumerate(numbers) if n == 0 or numbers[n - 1] != one]
    batch = KINDS[kind]({"key": KEYS[keys](np.array(numbers))})
    if len(set(runs)) == len(runs):
        assert sum(len(one["key"]) for one in regrouped(cuts(batch, len(numbers), size))) == len(numbers)
        return
    came = next(n for n, one in enumerate(numbers) if one in numbers[:n] and numbers[n - 1] != one)
    with pytest.raises(
        InputError, match=f"found key .* again in row {came}, after others; sort the rows first, such as by DuckDB's ORDER BY"
    ):
        list(regrouped(cuts(batch, len(numbers), size)))


def test_several_columns_come_back() -> None:
    batches = [{"a": np.array([1, 1, 2]), "b": np.array(["x", "y", "x"])}, {"a": np.array([2, 1]), "b": np.array(["y", "y"])}]
    with pytest.raises(InputError, match="found key 1, .*'y'.* again in row 4"):
        list(regrouped(batches, ["a", "b"]))
    assert len(list(regrouped([*batches[:1], {"a": np.array([2]), "b": np.array(["y"])}], ["a", "b"]))) == 3


@follows("sort the rows first, such as by DuckDB's ORDER BY key, step")
def test_sorted_rows_go_through() -> None:
    rng = np.random.default_rng(0)
    table = pa.table({"key": rng.integers(0, 50, 1000), "step": rng.integers(0, 9, 1000)})
    with pytest.raises(InputError, match="sort the rows first, such as by DuckDB's ORDER BY key, step"):
        list(regrouped(table.to_batches(max_chunksize=100)))
    in_order = table.sort_by([("key", "ascending"), ("step", "ascending")])
    assert pa.Table.from_batches(regrouped(in_order.to_batches(max_chunksize=100))).equals(in_order)


def test_more_keys_than_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys in order need no memory; others are refused then, not trusted."""
    monkeypatch.setattr(sequences, "MOST_KEYS", 20)
    grouper = Grouper("key")
    for first in range(0, 100, 10):
        list(grouper.add({"key": np.arange(first, first + 10)}))
    with pytest.raises(InputError, match="key: expected keys that rise or fall, or 20 others at most, found more; sort"):
        list(grouper.add({"key": np.array([7])}))
    for _ in (1,):
        falling = Grouper("key")
        for first in range(100, 0, -10):
            list(falling.add({"key": np.arange(first, first - 10, -1)}))
    mixed = Grouper("key")
    with pytest.raises(InputError, match="or 20 others at most"):
        list(mixed.add({"key": np.random.default_rng(0).permutation(21)}))


def test_what_is_remembered_of_keys_is_small() -> None:
    """Eight bytes each."""
    seen, numbers = hashing.Seen(), np.random.default_rng(0).permutation(50_000).astype(np.int64)
    for first in range(0, 50_000, 700):
        some = numbers[first : first + 700]
        assert not seen.among(some).any()
        seen.add(some)
        assert seen.among(some).all()
    assert len(seen) == 50_000
    assert not seen.among(numbers + 50_000).any()


@given(st.lists(st.binary(max_size=40), max_size=30))
def test_hashes_are_of_the_bytes_alone(texts: list[bytes]) -> None:
    """Not of what stands beside them, and others for others."""
    data = np.frombuffer(b"#" + b"".join(texts), np.uint8)
    offsets = np.cumsum([1, *map(len, texts)])
    found = hashing.hashed(data, offsets)
    alone = [int(hashing.hashed(np.frombuffer(text, np.uint8), np.array([0, len(text)]))[0]) for text in texts]
    assert found.tolist() == alone
    assert len(set(alone)) == len(set(texts))


def test_marks_are_those_of_every_kind() -> None:
    for make in KEYS.values():
        columns = {"key": make(np.arange(40))}
        marks = [sequences.table_of(kind(columns)).marks("key") for kind in KINDS.values()]
        assert len(set(marks[0].tolist())) == 40
        for one in (marks[1], marks[2], marks[5]):
            assert np.array_equal(one, marks[1])


def test_blocks_hold_all_rows_and_no_more_than_they_may() -> None:
    lengths = np.random.default_rng(0).integers(1, 50, 300)
    lengths[100] = 5000
    found = list(ragged.blocks(lengths, 400))
    assert [first for first, _ in found][1:] == [last for _, last in found][:-1]
    assert (found[0][0], found[-1][1]) == (0, 300)
    assert all(last - first == 1 or (last - first) * lengths[first:last].max() <= 400 for first, last in found)
    for length in range(1, 3000):
        assert length <= ragged.rounded(length) <= length * 1.125
