"""predict over files of every kind, into files of every kind: the numbers of predict, to the bit, in bounded batches."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import batch_files
import numpy as np
import pytest
from around_models import TEXTS, fitted_tokenizer, of_texts
from batch_files import SIZE, WIDE, numbers, read, rows, table, wide, write

import fastlstm
from fastlstm.batch.files import lines, sources
from fastlstm.batch.files.base import Reading, length
from fastlstm.cli.main import main

pa = pytest.importorskip("pyarrow")

TABLES = (".parquet", ".arrow", ".arrows", ".feather", ".jsonl")
X = rows(1000)


@pytest.fixture(scope="module")
def expected(model: Path) -> np.ndarray:
    return fastlstm.load(model).predict(X)


def run(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


@pytest.mark.parametrize("ending", TABLES)
def test_each_kind_is_read(model: Path, expected: np.ndarray, tmp_path: Path, ending: str) -> None:
    source = write(tmp_path / f"in{ending}", table(X), 300)
    run("predict", model, source, "-o", tmp_path / "out.parquet", "--columns", "x", "--batch-rows", "128")
    found = read(tmp_path / "out.parquet")
    assert found.column_names == ["id", "name", "dense_2"]
    assert found["id"].to_pylist() == list(range(1000))
    assert found["name"][999].as_py() == "row, 999"
    np.testing.assert_array_equal(numbers(found["dense_2"]), expected)


@pytest.mark.parametrize("ending", [*TABLES, ".csv", ".npz"])
def test_each_kind_is_written(model: Path, expected: np.ndarray, tmp_path: Path, ending: str) -> None:
    source = write(tmp_path / "in.parquet", table(X), 300)
    target = tmp_path / f"out{ending}"
    run("predict", model, source, "-o", target, "--columns", "x", "--batch-rows", "128", "-q")
    if ending == ".npz":
        found: Any = np.load(target)
        np.testing.assert_array_equal(found["dense_2"], expected)
        assert found["name"][17] == "row, 17"
    elif ending == ".csv":
        found = read(target)
        assert found.column_names == ["id", "name", "dense_2_0", "dense_2_1"]
        np.testing.assert_array_equal(np.stack([numbers(found["dense_2_0"]), numbers(found["dense_2_1"])], 1), expected)
        assert target.read_text().splitlines()[18].startswith('17,"row, 17",')
    else:
        found = read(target)
        np.testing.assert_array_equal(numbers(found["dense_2"]), expected)
        assert found["name"].to_pylist() == [f"row, {n}" for n in range(1000)]


def test_arrays_are_as_predict_gives_them(tmp_path: Path) -> None:
    model = batch_files.model_file(tmp_path, units=1)
    expected = fastlstm.load(model).predict(X)
    write(tmp_path / "in.parquet", table(X))
    np.save(tmp_path / "in.npy", X)
    np.savez(tmp_path / "in.npz", lstm_1_input=X)
    for number, source in enumerate(("in.parquet", "in.npy", "in.npz")):
        for ending in ("npy", "npz", "parquet"):
            target = tmp_path / f"{number}.{ending}"
            columns = ["--columns", "x"] if source == "in.parquet" else []
            run("predict", model, tmp_path / source, "-o", target, "--batch-rows", "64", *columns)
            found: Any = np.load(target) if ending != "parquet" else numbers(read(target)["dense_2"]).reshape(-1, 1)
            np.testing.assert_array_equal(found["dense_2"] if ending == "npz" else found, expected, strict=True)


def test_scalars_in_columns(model: Path, expected: np.ndarray, tmp_path: Path) -> None:
    for ending in (".csv", ".parquet", ".jsonl"):
        source = write(tmp_path / f"in{ending}", wide(X))
        run("predict", model, source, "-o", tmp_path / "out.parquet", "--columns", f"lstm_1_input={WIDE}")
        found = read(tmp_path / "out.parquet")
        assert found.column_names == ["id", "dense_2"]
        np.testing.assert_array_equal(numbers(found["dense_2"]), expected)


def test_whole_numbers_first_and_fractions_later(model: Path, tmp_path: Path) -> None:
    x = np.zeros((60_000, SIZE), np.float32)
    x[-1] = 0.5
    for name in ("in.csv", "in.jsonl"):
        lines = [f"{WIDE}\n"] if name == "in.csv" else []
        for row in x.tolist():
            cells = [int(one) if one == 0 else one for one in row]
            lines.append(",".join(map(str, cells)) + "\n" if lines and name == "in.csv" else json.dumps({"x": cells}) + "\n")
        (tmp_path / name).write_text("".join(lines))
        run("predict", model, tmp_path / name, "-o", tmp_path / "y.npy", *(["--columns", WIDE] if name == "in.csv" else []))
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), fastlstm.load(model).predict(x.reshape(-1, 5, 3)))


def test_kept_columns_of_csv_stay_as_they_are_written(model: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", wide(X[:3]).drop_columns(["id"]))
    lines = source.read_text().splitlines()
    source.write_text("\n".join([f"when,{lines[0]}", *(f"{when},{line}" for when, line in zip(("1.50", "007", '"a, b"'), lines[1:]))]))
    run("predict", model, source, "-o", tmp_path / "out.csv", "--columns", WIDE)
    assert [line.rsplit(",", 2)[0] for line in (tmp_path / "out.csv").read_text().splitlines()] == ["when", "1.50", "007", '"a, b"']


@pytest.mark.parametrize(("keep", "names"), [("", []), ("name", ["name"]), ("*", ["id", "name", "x"]), ("x,id", ["x", "id"])])
def test_keep(model: Path, tmp_path: Path, keep: str, names: list[str]) -> None:
    source = write(tmp_path / "in.parquet", table(X))
    run("predict", model, source, "-o", tmp_path / "out.parquet", "--columns", "x", "--keep", keep)
    found = read(tmp_path / "out.parquet")
    assert found.column_names == [*names, "dense_2"]
    for name in names:
        assert found[name].equals(table(X)[name])


def test_only_what_is_needed_is_read(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    earlier = pa.parquet.ParquetFile.iter_batches

    def iter_batches(self: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(options["columns"])
        return earlier(self, *arguments, **options)

    monkeypatch.setattr(pa.parquet.ParquetFile, "iter_batches", iter_batches)
    found = table(X).append_column("large", pa.array([[1, 2]] * len(X)))
    run("predict", model, write(tmp_path / "in.parquet", found), "-o", tmp_path / "out.parquet", "--columns", "x")
    assert asked == [["x", "id", "name"]]


def test_outputs_under_other_names(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = table(X).rename_columns(["id", "dense_2", "x"])
    source = write(tmp_path / "in.parquet", found)
    assert main(["predict", str(model), str(source), "-o", str(tmp_path / "out.parquet"), "--columns", "x"]) == 1
    assert "dense_2" in capsys.readouterr().err
    run("predict", model, source, "-o", tmp_path / "out.parquet", "--columns", "x", "--output-columns", "score")
    assert read(tmp_path / "out.parquet").column_names == ["id", "dense_2", "score"]


@pytest.mark.parametrize("ending", [*TABLES, ".csv"])
def test_no_rows(model: Path, tmp_path: Path, ending: str) -> None:
    if ending == ".jsonl":
        return
    source = write(tmp_path / f"in{ending}", wide(X[:0]))
    run("predict", model, source, "-o", tmp_path / "out.parquet", "--columns", WIDE)
    found = read(tmp_path / "out.parquet")
    assert found.num_rows == 0
    assert "dense_2" in found.column_names


# -- pieces -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [*TABLES, ".csv", ".npy", ".npz"])
@pytest.mark.parametrize("start", [0, 1, 299, 300, 650, 1000])
def test_sources_begin_at_any_row(tmp_path: Path, ending: str, start: int) -> None:
    path = tmp_path / f"in{ending}"
    if ending == ".npy":
        np.save(path, np.arange(1000))
    elif ending == ".npz":
        np.savez_compressed(path, id=np.arange(1000))
    else:
        write(path, table(X).drop_columns(["x"]), 300)
    kind = {".feather": "feather"}.get(ending, ending[1:])
    with sources.opened(str(path), kind, Reading(("id",))) as source:
        found = list(source.batches(["id"], 128, start))
        assert all(length(one) <= 128 for one in found)
        assert found
        ids = [int(one) for batch in found for one in (batch["id"] if isinstance(batch, dict) else batch["id"].to_pylist())]
        assert ids == list(range(start, 1000))
        again = sum(length(one) for one in source.batches(["id"], 128, 0))
        assert again == 1000


def test_arrays_column_by_column(tmp_path: Path) -> None:
    x = np.asfortranarray(X)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x)
    for name in ("x.npy", "x.npz"):
        with sources.opened(str(tmp_path / name), name[-3:], Reading(("x",))) as source:
            np.testing.assert_array_equal(np.concatenate([one["x"] for one in source.batches(["x"], 77)]), x)


# -- standard input and output --------------------------------------------------------------------------------------------------------


class Pipe(io.BytesIO):
    """What standard input is in a pipe: it can be read once, from its beginning."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: Any) -> int:
        raise OSError("a pipe")


def given(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", type("Standard", (), {"buffer": Pipe(data)})())


@pytest.mark.parametrize("ending", [".arrows", ".csv", ".jsonl"])
def test_standard_input_and_output(
    model: Path, expected: np.ndarray, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch, capsysbinary: Any
) -> None:
    given(monkeypatch, write(tmp_path / f"in{ending}", wide(X), 300).read_bytes())
    run("predict", model, "-", "--columns", WIDE, "--output-format", ending[1:], "-o", "-")
    out, err = capsysbinary.readouterr()
    assert not err
    (tmp_path / f"out{ending}").write_bytes(out)
    found = read(tmp_path / f"out{ending}")
    assert found["id"].to_pylist() == list(range(1000))
    y = np.stack([numbers(found["dense_2_0"]), numbers(found["dense_2_1"])], 1) if ending == ".csv" else numbers(found["dense_2"])
    np.testing.assert_array_equal(y, expected)


def test_standard_input_into_a_file(model: Path, expected: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, write(tmp_path / "in.arrows", table(X), 300).read_bytes())
    run("predict", model, "-", "-o", tmp_path / "out.parquet", "--columns", "x")
    np.testing.assert_array_equal(numbers(read(tmp_path / "out.parquet")["dense_2"]), expected)


def test_parquet_through_a_pipe_is_refused(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    given(monkeypatch, write(tmp_path / "in.parquet", table(X)).read_bytes())
    assert main(["predict", str(model), "-", "--columns", "x"]) == 1
    assert "found Parquet, which is not read in one go: write it to a file first" in capsys.readouterr().err
    assert main(["predict", str(model), str(tmp_path / "in.parquet"), "--columns", "x", "--output-format", "parquet"]) == 1
    assert "expected --output-format arrows, csv, jsonl, found parquet" in capsys.readouterr().err


def test_not_a_number_in_json_lines(tmp_path: Path) -> None:
    model = batch_files.model_file(tmp_path)
    x = X[:2].copy()
    x[0] = np.nan
    run("predict", model, write(tmp_path / "in.parquet", table(x)), "-o", tmp_path / "out.jsonl", "--columns", "x")
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert first["dense_2"] == [None, None]
    np.testing.assert_array_equal(np.float32(second["dense_2"]), fastlstm.load(model).predict(x)[1])


# -- pipelines, texts, parts of models ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl", ".txt", ".npy"])
def test_texts_and_labels(tmp_path: Path, ending: str) -> None:
    pipeline = fastlstm.Pipeline(of_texts(tmp_path), tokenizer=fitted_tokenizer(), labels=["bad, really", "good"])
    pipeline.save(tmp_path / "p.fastlstm")
    expected = pipeline.predict(TEXTS)
    source = tmp_path / f"in{ending}"
    if ending == ".txt":
        source.write_text("".join(f"{text}\n" for text in TEXTS))
    elif ending == ".npy":
        np.save(source, np.array(TEXTS))
    else:
        write(source, pa.table({"id": range(len(TEXTS)), "text": TEXTS}))
    kept = [] if ending in (".txt", ".npy") else ["id"]
    for target in (tmp_path / "out.parquet", tmp_path / "out.csv"):
        run("predict", tmp_path / "p.fastlstm", source, "-o", target, "--batch-rows", "2")
        found = read(target)
        assert found.column_names == [*kept, "label", "probability"]
        assert found["label"].to_pylist() == expected.labels.tolist()
        np.testing.assert_array_equal(numbers(found["probability"]), expected.probabilities.max(axis=1))


def test_a_part_of_a_model(model: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", table(X))
    run("predict", model, source, "-o", tmp_path / "out.parquet", "--columns", "x", "--layer", "lstm_1")
    found = read(tmp_path / "out.parquet")
    assert found.column_names == ["id", "name", "lstm_1"]
    np.testing.assert_array_equal(numbers(found["lstm_1"]), fastlstm.load(model, outputs=["lstm_1"]).predict(X))


def test_one_object_of_json(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in.parquet", table(X))
    run("predict", model, source, "-o", tmp_path / "out.parquet", "--columns", "x", "--json")
    found = json.loads(capsys.readouterr().out)
    assert {name: found[name] for name in ("rows", "begun", "written")} == {"rows": 1000, "begun": 0, "written": 1000}
    assert main(["predict", str(model), str(source), "-o", str(tmp_path / "out.parquet"), "--columns", "y", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "InputError"


def test_a_text_of_any_length_is_not_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without line ends is no reason to take all memory."""
    monkeypatch.setattr(lines, "LONGEST_LINE", 3 << 20)
    (tmp_path / "x.txt").write_bytes(b"a" * (8 << 20))
    with sources.opened(str(tmp_path / "x.txt"), "txt", Reading(("x",))) as source:
        with pytest.raises(fastlstm.InputError, match=r"x\.txt: expected lines of at most 3 MB, found a longer one"):
            list(source.batches(["x"], 100))
        assert source.stream.read_bytes < 8 << 20
