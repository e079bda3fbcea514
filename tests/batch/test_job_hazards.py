"""What could mix up or lose rows of a job: dictionaries, inputs that change, keys that come back, ends at the worst moment."""

from __future__ import annotations

import csv
import decimal
import io
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import batch_files
import numpy as np
import pytest
from batch_files import Stopped, numbers, read, rows, table, write

import fastlstm
from fastlstm.batch import Predictor
from fastlstm.batch.files import arrow, csvtables, sources, tables
from fastlstm.batch.files.arrays import NpySource
from fastlstm.batch.files.base import Reading
from fastlstm.batch.files.parquet import ParquetSource
from fastlstm.batch.jobs import facts, folders, processes
from fastlstm.batch.jobs.job import Job, Progress
from fastlstm.batch.jobs.planning import Options

pa = pytest.importorskip("pyarrow")
pytestmark = pytest.mark.usefixtures("each_batch_is_a_part")

X = rows(200)
NAMES = [f"a{number}" for number in range(batch_files.FEATURES)]


@pytest.fixture(scope="module")
def expected(model: Path) -> np.ndarray:
    return fastlstm.load(model).predict(X)


def run(predictor: Predictor, source: Path, target: Path, stop: int | None = None, **given: Any) -> Any:
    def watch(progress: Progress) -> None:
        if stop is not None and progress.rows - progress.begun >= stop:
            raise Stopped

    options = Options(**{"batch_rows": 20, "part_seconds": 0.0, **given})
    with Job(predictor, options, watch=watch) as job:
        return job.run(str(source), str(target))


def with_categories() -> Any:
    """The table, and a column whose chunks have each a dictionary of its own."""
    chunks = [
        pa.DictionaryArray.from_arrays(pa.array(np.arange(20) % 5, pa.int8()), pa.array([f"c{chunk}_{n}" for n in range(5)]))
        for chunk in range(10)
    ]
    return table(X).append_column("category", pa.chunked_array(chunks))


# -- dictionaries -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".arrows", ".feather"])
def test_dictionaries_that_differ_are_kept_by_value(
    model: Path, expected: np.ndarray, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables.TableSink, "rows", 20)
    given = with_categories()
    source, target = write(tmp_path / "in.arrows", given, 20), tmp_path / f"out{ending}"
    run(Predictor(model, inputs="x"), source, target)
    found = read(target)
    assert found["category"].cast(pa.string()).to_pylist() == given["category"].cast(pa.string()).to_pylist()
    np.testing.assert_array_equal(numbers(found["dense_2"]), expected)


def test_batches_are_sent_with_their_dictionaries_and_nothing_more() -> None:
    batch = with_categories().combine_chunks().to_batches()[0].slice(30, 20)
    sent = processes.packed(batch)
    assert processes.unpacked(sent).equals(batch)
    assert len(sent) < batch.num_rows * batch_files.SIZE * 4 + 8000


def test_dictionaries_too_large_together_are_read(model: Path) -> None:
    chunks = [
        pa.DictionaryArray.from_arrays(pa.array(np.arange(100), pa.int8()), pa.array(np.arange(100, dtype=np.float32) + 100 * n))
        for n in range(2)
    ]
    column = pa.chunked_array(chunks)
    names = [f"a{number}" for number in range(batch_files.SIZE)]
    predictor = Predictor(model, inputs=names)
    plain = predictor(pa.table(dict.fromkeys(names, column.cast(pa.float32()))))
    assert predictor(pa.table(dict.fromkeys(names, column)))["dense_2"].to_pylist() == plain["dense_2"].to_pylist()


# -- inputs that change -----------------------------------------------------------------------------------------------------------


def test_ranges_are_of_the_file_that_was_opened(tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", table(X), 20)
    other = write(tmp_path / "other.parquet", table(X[::-1].copy()), 20)
    with ParquetSource(str(source), Reading()) as opened:
        ranges = opened.ranges(0)
        with ranges.opened() as same:
            assert same.rows == len(X)
        os.replace(other, source)
        with pytest.raises(fastlstm.InputError, match="has changed since its first rows were read"):
            ranges.opened()


def test_nan_for_nulls_is_the_same_when_a_job_goes_on(model: Path, expected: np.ndarray, tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.parquet", table(X)), tmp_path / "out.parquet"
    predictor = Predictor(model, inputs="x", nulls=float("nan"))
    with pytest.raises(Stopped):
        run(predictor, source, target, 60)
    assert run(predictor, source, target).begun
    np.testing.assert_array_equal(numbers(read(target)["dense_2"]), expected)


def test_another_input_is_told_once() -> None:
    assert facts.differing({"input": "a", "bytes": 1}, {"input": "b", "bytes": 2}) == ["input"]


# -- keys -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("later", [[*range(10, 20)], [30, 31, 10, 40]], ids=["rising-again", "one"])
def test_a_key_that_comes_back_after_a_stop_is_refused(model: Path, tmp_path: Path, later: list[int]) -> None:
    keys = np.repeat([*range(30), *later], 5)
    steps = np.random.default_rng(0).normal(size=(len(keys), 3)).astype(np.float32)
    source = write(tmp_path / "in.parquet", pa.table({"key": keys, **dict(zip(NAMES, steps.T, strict=True))}))
    predictor, target = Predictor(model, inputs=NAMES, key="key"), tmp_path / "out.parquet"
    with pytest.raises(Stopped):
        run(predictor, source, target, 100)
    with pytest.raises(fastlstm.InputError, match="found key 10 again in row"):
        run(predictor, source, target)


def test_keys_go_on_after_a_stop(model: Path, tmp_path: Path) -> None:
    keys, steps = np.repeat(np.arange(40), 5), X[:40].reshape(200, 3)
    source = write(tmp_path / "in.parquet", pa.table({"key": keys, **dict(zip(NAMES, steps.T, strict=True))}), 33)
    predictor, target = Predictor(model, inputs=NAMES, key="key"), tmp_path / "out.parquet"
    with pytest.raises(Stopped):
        run(predictor, source, target, 100, batch_rows=7)
    assert run(predictor, source, target, batch_rows=7).begun
    found = read(target)
    assert found["key"].to_pylist() == list(range(40))
    np.testing.assert_array_equal(numbers(found["dense_2"]), fastlstm.load(model).predict(X[:40]))


KEYS = {
    "decimal": lambda n: pa.array([decimal.Decimal(10**20 + int(one)) for one in n], pa.decimal128(38, 0)),
    "bytes": lambda n: pa.array([b"%016d" % one for one in n], pa.binary(16)),
    "uuid": lambda n: pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid.UUID(int=int(one)).bytes for one in n], pa.binary(16))),
    "half": lambda n: pa.array(n.astype(np.float16)),
    "view": lambda n: pa.array([f"k{one}" for one in n], pa.string_view()),
}


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_every_type_come_in_any_order(model: Path, tmp_path: Path, kind: str) -> None:
    key = {"view": "string_view", "uuid": "uuid"}.get(kind)
    if key is not None and not hasattr(pa, key):
        pytest.skip(f"this pyarrow has no {key}")
    order, steps = np.random.default_rng(3).permutation(40), X[:40].reshape(200, 3)
    keys = KEYS[kind](np.repeat(order, 5))
    given = pa.table({"key": keys, **dict(zip(NAMES, steps.T, strict=True))})
    source, target = write(tmp_path / "in.arrow", given, 33), tmp_path / "out.arrow"
    run(Predictor(model, inputs=NAMES, key="key"), source, target, batch_rows=33)
    found = read(target)
    assert found["key"].to_pylist() == keys.to_pylist()[::5]
    np.testing.assert_array_equal(numbers(found["dense_2"]), fastlstm.load(model).predict(X[:40]))


# -- ends at the worst moment -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.0, 10.0])
def test_a_job_killed_while_it_tidies_up_is_done_again(
    model: Path, expected: np.ndarray, tmp_path: Path, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = write(tmp_path / "in.parquet", table(X)), tmp_path / "out.parquet"
    unlink = os.unlink

    def killed(path: Any, **given: Any) -> None:
        if str(path).endswith("job.json"):
            raise Stopped
        unlink(path, **given)

    monkeypatch.setattr(os, "unlink", killed)
    with pytest.raises(Stopped):
        run(Predictor(model, inputs="x"), source, target, part_seconds=seconds)
    monkeypatch.undo()
    assert os.listdir(f"{target}.parts")
    run(Predictor(model, inputs="x"), source, target)
    np.testing.assert_array_equal(numbers(read(target)["dense_2"]), expected)
    assert not os.path.exists(f"{target}.parts")


def test_a_part_that_is_gone_is_computed_again(model: Path, expected: np.ndarray, tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.parquet", table(X)), tmp_path / "out.parquet"
    with pytest.raises(Stopped):
        run(Predictor(model, inputs="x"), source, target, 100)
    parts = sorted(name for name in os.listdir(f"{target}.parts") if name.endswith(".parquet"))
    os.unlink(f"{target}.parts/{parts[1]}")
    assert run(Predictor(model, inputs="x"), source, target).begun < 100
    np.testing.assert_array_equal(numbers(read(target)["dense_2"]), expected)


def test_notes_of_another_kind_are_told(model: Path, tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.parquet", table(X)), tmp_path / "out.parquet"
    with pytest.raises(Stopped):
        run(Predictor(model, inputs="x"), source, target, 100)
    Path(f"{target}.parts/job.json").write_text("{}")
    with pytest.raises(fastlstm.InputError, match="notes of an earlier job cannot be read.*--overwrite begins anew"):
        run(Predictor(model, inputs="x"), source, target)
    shutil.rmtree(f"{target}.parts")


# -- columns that are kept --------------------------------------------------------------------------------------------------------


def test_a_null_in_a_list_is_one_empty_cell(model: Path, tmp_path: Path) -> None:
    lists = pa.array([[None if (n, m) == (3, 1) else 10.0 * n + m for m in range(3)] if n != 5 else None for n in range(200)])
    given = table(X).append_column("list", lists.cast(pa.list_(pa.float64(), 3)))
    source, target = write(tmp_path / "in.parquet", given), tmp_path / "out.csv"
    run(Predictor(model, inputs="x"), source, target, keep=("id", "list"))
    with open(target) as file:
        lines = list(csv.reader(file))
    assert lines[0][:4] == ["id", "list_0", "list_1", "list_2"]
    assert [lines[row + 1][1:4] for row in (2, 3, 5)] == [["20", "21", "22"], ["30", "", "32"], ["", "", ""]]


def test_places_of_a_list_do_not_take_the_name_of_a_column(model: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", table(X).append_column("dense_2_0", pa.array(np.arange(200))))
    with pytest.raises(fastlstm.InputError, match="found 'dense_2_0' twice"):
        run(Predictor(model, inputs="x"), source, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()
    run(Predictor(model, inputs="x", outputs="y"), source, tmp_path / "out.csv")


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl", ".npy"])
def test_no_rows_become_a_file_of_none(model: Path, tmp_path: Path, ending: str) -> None:
    source, target = write(tmp_path / "in.parquet", table(X)[:0]), tmp_path / f"out{ending}"
    assert run(Predictor(model, inputs="x"), source, target).written == 0
    assert target.exists()
    if ending == ".csv":
        assert target.read_text() == "id,name,dense_2_0,dense_2_1\n"


def test_a_column_named_twice_is_kept_once(model: Path, tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.parquet", table(X)), tmp_path / "out.parquet"
    run(Predictor(model, inputs="x"), source, target, keep=("id", "id"))
    assert read(target).schema.names == ["id", "dense_2"]


# -- CSV --------------------------------------------------------------------------------------------------------------------------


def test_separators_in_quotation_marks_separate_nothing(model: Path, tmp_path: Path) -> None:
    names = [f"a{number}" for number in range(batch_files.SIZE)]
    title = "many, many, commas, " * 10
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(f'"{title}";{";".join(names)}\nz;{";".join(["1"] * batch_files.SIZE)}\n')
    assert run(Predictor(model, inputs=names), source, target).written == 1
    with open(target) as file:
        assert next(csv.reader(file))[0] == title


def test_names_of_csv_in_other_bytes_are_told(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(b"n\xe9,a0\n1,2\n")
    with pytest.raises(fastlstm.InputError, match="expected names in UTF-8 in the first line"):
        sources.opened(str(tmp_path / "in.csv"), "csv", Reading())


def test_cells_with_line_breaks_are_read_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "in.csv"
    path.write_text("n,a0\n" + "".join(f'"{n}\n{n}",{n}\n' for n in range(100)))
    told = []
    for block in range(60, 100):
        monkeypatch.setattr(csvtables, "BLOCK", block)
        try:
            batches = list(sources.opened(str(path), "csv", Reading()).batches(["n", "a0"], 1000))
        except fastlstm.InputError as error:
            told.append(str(error))
        else:
            assert [one for batch in batches for one in batch["a0"].to_pylist()] == list(range(100))
    assert any("cells that seem to hold line breaks" in text for text in told)


def test_numbers_of_polars_that_arrow_does_not_have_are_told(model: Path) -> None:
    pl = pytest.importorskip("polars")
    if not hasattr(pl, "Int128"):
        pytest.skip("this polars has no Int128")
    frame = pl.DataFrame({"x": pl.Series([1, 2]).cast(pl.Int128)})
    with pytest.raises(fastlstm.InputError, match="column 'x': expected numbers, text, or lists of these, found Int128"):
        Predictor(model, inputs="x")(frame)


# -- names and sizes that files say ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [["thesis.txt"], ["lock.txt", "000000.parquet"], ["lock", "thesis.txt"]], ids=str)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_the_users_own_is_left_alone(model: Path, tmp_path: Path, names: list[str], overwrite: bool) -> None:
    """Called as the folder of parts would be."""
    source, folder = write(tmp_path / "in.parquet", table(X)), tmp_path / "out.parquet.parts"
    folder.mkdir()
    for name in names:
        (folder / name).write_text("precious")
    with pytest.raises(
        fastlstm.InputError, match=r"out\.parquet\.parts, which holds something else \(.*\); move that, or name another file"
    ):
        run(Predictor(model, inputs="x"), source, tmp_path / "out.parquet", overwrite=overwrite)
    assert sorted(path.name for path in folder.iterdir() if path.read_text() == "precious") == sorted(names)


@pytest.mark.parametrize(
    "change",
    [
        lambda part: {**part, "file": "../precious.txt"}, lambda part: {**part, "file": "000001.parquet"}, lambda part: {**part, "file": 0},
        lambda part: {**part, "end": -20}, lambda part: {**part, "end": "20"}, lambda part: {**part, "rows": None},
        lambda part: {"file": part["file"]}, lambda part: 3,
    ],
    ids=["path", "number", "kind", "negative", "text", "none", "missing", "no object"],
)  # fmt: skip
def test_notes_name_the_parts_of_jobs_alone(model: Path, expected: np.ndarray, tmp_path: Path, change: Any) -> None:
    """What they name is read, and moved."""
    source, target, precious = write(tmp_path / "in.parquet", table(X)), tmp_path / "out.parquet", tmp_path / "precious.txt"
    precious.write_text("precious")
    with pytest.raises(Stopped):
        run(Predictor(model, inputs="x"), source, target, 60)
    notes = tmp_path / "out.parquet.parts/job.json"
    said = json.loads(notes.read_text())
    notes.write_text(json.dumps({**said, "parts": [change(said["parts"][0])]}))
    with pytest.raises(fastlstm.InputError, match=r"job\.json: the notes of an earlier job cannot be read .*--overwrite begins anew"):
        run(Predictor(model, inputs="x"), source, target)
    run(Predictor(model, inputs="x"), source, target, overwrite=True)
    np.testing.assert_array_equal(numbers(read(target)["dense_2"]), expected)
    assert precious.read_text() == "precious"


def test_damaged_notes_of_a_folder_are_overwritten(model: Path, tmp_path: Path) -> None:
    """As the message says."""
    (tmp_path / "in").mkdir()
    write(tmp_path / "in/a.parquet", table(X))

    def again(overwrite: bool = False) -> folders.FolderDone:
        with Job(Predictor(model, inputs="x"), Options(overwrite=overwrite)) as job:
            return folders.run(str(tmp_path / "in"), str(tmp_path / "out"), job)

    assert not again().failed
    (tmp_path / "out/.fastlstm/a.parquet.json").write_text("{")
    (reason,) = again().failed.values()
    assert "a.parquet.json: the notes of an earlier job cannot be read" in reason and "--overwrite begins anew" in reason
    assert len(again(overwrite=True).computed) == 1
    assert len(again().earlier) == 1


@pytest.mark.parametrize("offsets", [[0, 15, 2_000_000_000], [0, 15, -30], [0, 1_000_000_000, 30]], ids=["far", "back", "between"])
@pytest.mark.parametrize("piped", [False, True], ids=["file", "pipe"])
def test_offsets_of_arrow_are_proven(tmp_path: Path, offsets: list[int], piped: bool) -> None:
    """Arrow takes them as they stand in a file."""
    given, stream = pa.table({"x": pa.array(X[:2].reshape(2, -1).tolist(), pa.list_(pa.float32()))}), io.BytesIO()
    with (pa.ipc.new_stream if piped else pa.ipc.new_file)(stream, given.schema) as writer:
        writer.write_table(given)
    good, bad = (np.array(one, np.int32).tobytes() for one in ([0, 15, 30], offsets))
    assert stream.getvalue().count(good) == 1
    data = stream.getvalue().replace(good, bad)
    (tmp_path / "in.arrow").write_bytes(data)
    source = arrow.StreamSource(io.BytesIO(data), "in.arrow") if piped else arrow.ArrowSource(str(tmp_path / "in.arrow"), Reading())
    with pytest.raises(fastlstm.InputError, match=r"in\.arrow: cannot be read as Arrow: .*[Oo]ffset"):
        list(source.batches(["x"], 100))


@pytest.mark.parametrize("said", ["'<f4', 'fortran_order': False, 'shape': (-5, 3)", "'|S0', 'fortran_order': False, 'shape': (5, 3)"])
def test_shapes_of_npy_are_proven(tmp_path: Path, said: str) -> None:
    text = f"{{'descr': {said}, }}".ljust(117) + "\n"
    (tmp_path / "x.npy").write_bytes(np.lib.format.magic(1, 0) + len(text).to_bytes(2, "little") + text.encode() + bytes(60))
    with pytest.raises(fastlstm.InputError, match=r"x\.npy: cannot be read as \.npy"):
        NpySource(str(tmp_path / "x.npy"), Reading(("x",)))
