"""Jobs over folders: an output for each input, on from where a job was stopped, several jobs at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_files import Stopped, numbers, read, rows, stopping, table, write

import fastlstm
from fastlstm.batch import Predictor
from fastlstm.batch.jobs import folders
from fastlstm.batch.jobs.job import Job, Progress
from fastlstm.batch.jobs.planning import Options
from fastlstm.cli.main import main

pa = pytest.importorskip("pyarrow")
pytestmark = pytest.mark.usefixtures("each_batch_is_a_part")

X = rows(1000)


@pytest.fixture(scope="module")
def expected(model: Path) -> np.ndarray:
    return fastlstm.load(model).predict(X)


def options(**given: Any) -> Options:
    return Options(**{"batch_rows": 100, "part_seconds": 0.0, **given})


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Three files, one of them below."""
    (tmp_path / "in/below").mkdir(parents=True)
    write(tmp_path / "in/a.parquet", table(X[:100]))
    write(tmp_path / "in/b.jsonl", table(X[100:200]))
    write(tmp_path / "in/below/c.parquet", table(X[200:300]))
    (tmp_path / "in/README").write_text("not data")
    (tmp_path / "in/_SUCCESS.csv").write_text("")
    return tmp_path / "in"


def run(model: Path, source: object, target: object, *more: str) -> int:
    return main(["predict", str(model), str(source), "-o", str(target), "--columns", "x", *more])


def test_a_folder(model: Path, expected: np.ndarray, folder: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    assert run(model, folder, out) == 0
    assert "3 files, 300 rows" in capsys.readouterr().out
    for name, first in (("a.parquet", 0), ("b.jsonl", 100), ("below/c.parquet", 200)):
        np.testing.assert_array_equal(numbers(read(out / name)["dense_2"]), expected[first : first + 100])
    stamps = {one: one.stat().st_mtime_ns for one in out.rglob("*.parquet")}
    (out / "a.parquet").unlink()
    assert run(model, folder, out) == 0
    said = capsys.readouterr().out
    assert "1 files, 100 rows" in said and "2 files were there already; --overwrite computes them anew" in said
    assert (out / "below/c.parquet").stat().st_mtime_ns == stamps[out / "below/c.parquet"]
    write(folder / "a.parquet", table(X[300:450]))
    assert run(model, folder, out) == 0
    assert "a.parquet: computed again, as its input has changed" in capsys.readouterr().out
    np.testing.assert_array_equal(numbers(read(out / "a.parquet")["dense_2"]), expected[300:450])
    assert run(model, folder, out, "--keep", "") == 1
    assert "has outputs of a job with another --keep; --overwrite computes all anew, or name another folder" in capsys.readouterr().err
    assert run(model, folder, out, "--keep", "", "--overwrite") == 0
    assert read(out / "a.parquet").column_names == ["dense_2"]


def test_a_pattern_and_another_kind(model: Path, folder: Path, tmp_path: Path, capsys: Any) -> None:
    assert run(model, folder / "**/*.parquet", tmp_path / "out", "--output-format", "csv") == 0
    assert sorted(str(one.relative_to(tmp_path / "out")) for one in (tmp_path / "out").rglob("*.csv")) == ["a.csv", "below/c.csv"]
    assert run(model, folder, folder) == 1
    assert "it is the folder that is read" in capsys.readouterr().err
    assert run(model, tmp_path / "no*.parquet", tmp_path / "out2") == 1
    assert "expected files ending in .parquet" in capsys.readouterr().err
    assert run(model, folder, tmp_path / "out.parquet") == 1
    assert "expected a folder to write to" in capsys.readouterr().err


def test_outputs_below_the_inputs_are_not_read(model: Path, folder: Path) -> None:
    assert run(model, folder, folder / "out") == 0
    assert run(model, folder, folder / "out", "--overwrite") == 0
    assert sorted(one.name for one in (folder / "out").rglob("*.parquet")) == ["a.parquet", "c.parquet"]


def test_inputs_that_fail_do_not_stop_the_others(model: Path, folder: Path, tmp_path: Path, capsys: Any) -> None:
    (folder / "a.parquet").write_bytes((folder / "a.parquet").read_bytes()[:-20])
    assert run(model, folder, tmp_path / "out") == 1
    out, err = capsys.readouterr()
    assert err.count("failed:") == 1 and "a.parquet: cannot be read as Parquet" in err
    assert "2 files, 200 rows" in out and "1 files failed; the same command tries them again" in out
    assert not (tmp_path / "out/a.parquet").exists()
    write(folder / "a.parquet", table(X[:100]))
    assert run(model, folder, tmp_path / "out") == 0
    assert "1 files, 100 rows" in capsys.readouterr().out


def test_files_that_no_job_wrote_are_left(model: Path, folder: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.parquet").write_bytes(b"mine")
    assert run(model, folder, tmp_path / "out") == 1
    assert "it is there, and no job of this folder wrote it; --overwrite replaces it" in capsys.readouterr().err
    assert (tmp_path / "out/a.parquet").read_bytes() == b"mine"
    assert run(model, folder, tmp_path / "out", "--overwrite") == 0


def test_two_jobs_share_a_folder(model: Path, expected: np.ndarray, folder: Path, tmp_path: Path) -> None:
    for number in range(6):
        write(folder / f"d{number}.parquet", table(X[:200]))
    results: list[Any] = []

    def watch(progress: Progress) -> None:
        if not results:
            results.append(None)
            with Job(Predictor(model, inputs="x"), options(part_seconds=60)) as second:
                found = folders.Folder(str(tmp_path / "out"), second)
                targets = found.targets(str(folder))
                first, *others = targets
                _, taken = found.take(first, targets[first], folders.FolderDone({}, (), (), {}))
                assert not taken  # the first job is at it
                done = folders.FolderDone({}, (), (), {})
                for one in others:
                    done, taken = found.take(one, targets[one], done)
                    assert taken
                results[0] = done

    with Job(Predictor(model, inputs="x"), options(part_seconds=60), watch=watch) as made:
        done = folders.run(str(folder), str(tmp_path / "out"), made)
    assert len(done.computed) == 1 and len(results[0].computed) == 8 and len(done.earlier) == 8
    np.testing.assert_array_equal(numbers(read(tmp_path / "out/d3.parquet")["dense_2"]), expected[:200])


def test_a_folder_goes_on_inside_a_file(model: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped), Job(Predictor(model, inputs="x"), options(batch_rows=10), watch=stopping(35)) as made:
        folders.run(str(folder), str(tmp_path / "out"), made)
    with Job(Predictor(model, inputs="x"), options(batch_rows=10)) as made:
        done = folders.run(str(folder), str(tmp_path / "out"), made)
    assert done.computed[str(tmp_path / "out/a.parquet")].begun > 0
    assert len(done.computed) == 3
