"""Jobs: parts that are kept, several processes, sequences by key; what stands after each kind of end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import batch_files
import numpy as np
import pytest
from batch_files import Stopped, numbers, read, rows, stopping, table, write

import fastlstm
from fastlstm.batch import Predictor
from fastlstm.batch.files.base import Reading, some
from fastlstm.batch.files.parquet import ParquetSource
from fastlstm.batch.jobs.job import Job, Progress
from fastlstm.batch.jobs.planning import Options, Plan
from fastlstm.cli.main import main

pa = pytest.importorskip("pyarrow")
pytestmark = pytest.mark.usefixtures("each_batch_is_a_part")

X = rows(1000)


@pytest.fixture(scope="module")
def expected(model: Path) -> np.ndarray:
    return fastlstm.load(model).predict(X)


def options(**given: Any) -> Options:
    return Options(**{"batch_rows": 100, "part_seconds": 0.0, **given})


def stopped(model: Path, source: Path, target: Path, after: int, **given: Any) -> None:
    with pytest.raises(Stopped), Job(Predictor(model, inputs="x"), options(**given), watch=stopping(after)) as made:
        made.run(str(source), str(target))


# -- parts ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".arrows", ".feather", ".csv", ".jsonl", ".npy"])
@pytest.mark.parametrize("from_ending", [".parquet", ".jsonl"])
def test_a_file_goes_on_where_it_was_stopped(model: Path, expected: np.ndarray, tmp_path: Path, ending: str, from_ending: str) -> None:
    source, target = write(tmp_path / f"in{from_ending}", table(X), 300), tmp_path / f"out{ending}"
    stopped(model, source, target, 350)
    assert sorted(os.listdir(tmp_path)) == sorted([source.name, f"{target.name}.parts"])
    seen: list[Progress] = []
    with Job(Predictor(model, inputs="x"), options(), watch=seen.append) as made:
        done = made.run(str(source), str(target))
    assert 0 < done.begun < 400 and done.rows == done.written == 1000
    assert seen[0].begun == done.begun and seen[-1].rows == 1000
    assert sorted(os.listdir(tmp_path)) == sorted([source.name, target.name])
    if ending == ".npy":
        np.testing.assert_array_equal(np.load(target), expected)
        return
    found = read(target)
    assert found["id"].to_pylist() == list(range(1000))
    y = np.stack([numbers(found["dense_2_0"]), numbers(found["dense_2_1"])], 1) if ending == ".csv" else numbers(found["dense_2"])
    np.testing.assert_array_equal(y, expected)


def test_parts_of_another_job_are_not_mixed_in(model: Path, expected: np.ndarray, tmp_path: Path, capsys: Any) -> None:
    source, target = write(tmp_path / "in.parquet", table(X)), tmp_path / "out.parquet"
    stopped(model, source, target, 350)
    before = sorted(os.listdir(f"{target}.parts"))
    command = ["predict", str(model), str(source), "-o", str(target), "--columns", "x", "--batch-rows", "100"]
    assert main([*command, "--nulls", "skip"]) == 1
    assert "has the results so far of a job with another --nulls; --overwrite begins anew without them" in capsys.readouterr().err
    os.utime(source, (1, 1))
    assert main(command) == 1
    assert "a job with another input (it has changed); --overwrite" in capsys.readouterr().err
    assert sorted(os.listdir(f"{target}.parts")) == before
    assert main([*command, "--overwrite"]) == 0
    assert "1,000 rows, in" in capsys.readouterr().out
    np.testing.assert_array_equal(numbers(read(target)["dense_2"]), expected)
    assert not os.path.exists(f"{target}.parts")


def test_a_changed_model_is_told(model: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.h5"
    own.write_bytes(model.read_bytes())
    source, target = write(tmp_path / "in.parquet", table(X)), tmp_path / "out.parquet"
    stopped(own, source, target, 350)
    own.write_bytes(batch_files.model_file(tmp_path, units=3).read_bytes())
    with (
        Job(Predictor(own, inputs="x"), options()) as made,
        pytest.raises(fastlstm.InputError, match="a job with another model; --overwrite"),
    ):
        made.run(str(source), str(target))


def test_two_jobs_do_not_write_one_file(model: Path, tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.parquet", table(X)), tmp_path / "out.parquet"
    refused = []

    def watch(progress: Progress) -> None:
        if not refused:
            with Job(Predictor(model, inputs="x"), options()) as second, pytest.raises(fastlstm.InputError) as caught:
                second.run(str(source), str(target))
            refused.append(str(caught.value))

    with Job(Predictor(model, inputs="x"), options(), watch=watch) as made:
        made.run(str(source), str(target))
    assert refused == [f"{target}: another job is writing it; wait until it is done, or name another file"]
    assert read(target).num_rows == 1000


def test_an_earlier_file_keeps_its_permissions(model: Path, tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.parquet", table(X)), tmp_path / "out.parquet"
    target.write_bytes(b"earlier")
    target.chmod(0o640)
    with Job(Predictor(model, inputs="x"), options(part_seconds=60)) as made:
        made.run(str(source), str(target))
    assert target.stat().st_mode & 0o777 == 0o640
    assert read(target).num_rows == 1000


def command(*arguments: object) -> subprocess.Popen[bytes]:
    """The command, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", SLOWLY, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )


#: A job that keeps its parts at once, and waits after each batch.
SLOWLY = """
import dataclasses, sys, time
from fastlstm.batch.jobs import job
from fastlstm.cli import main

class Slow(job.Job):
    def __init__(self, predictor, options, **given):
        super().__init__(predictor, dataclasses.replace(options, part_seconds=0.0), **{**given, "watch": lambda progress: time.sleep(0.1)})

if __name__ == "__main__":
    job.Job = Slow
    sys.exit(main.main(sys.argv[1:]))
"""


def wait_for(path: Path, lines: int) -> None:
    """Until so many parts are noted."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if path.exists() and len(json.loads(path.read_bytes())["parts"]) >= lines:
            return
        time.sleep(0.02)
    raise AssertionError(f"{path} never came")


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_gone_on_with(model: Path, expected: np.ndarray, tmp_path: Path, kill: int, processes: int) -> None:
    source, target = write(tmp_path / "in.parquet", table(X)), tmp_path / "out.parquet"
    target.write_bytes(b"earlier")
    arguments = ["predict", model, source, "-o", target, "--columns", "x", "--batch-rows", "50"]
    if processes > 1:
        arguments += ["--processes", processes]
    going = command(*arguments)
    wait_for(Path(f"{target}.parts/job.json"), 3)
    children = [int(one) for one in Path(f"/proc/{going.pid}/task/{going.pid}/children").read_text().split()]
    going.send_signal(kill)
    _, err = going.communicate(timeout=60)
    assert target.read_bytes() == b"earlier"
    if kill == signal.SIGINT:
        assert going.returncode == 130
        assert b"interrupted; " in err and b"rows are done and kept in " in err and b"Traceback" not in err
    end = time.monotonic() + 20
    while any(alive(one) for one in children) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(alive(one) for one in children)
    assert main([str(one) for one in arguments]) == 0
    np.testing.assert_array_equal(numbers(read(target)["dense_2"]), expected)
    assert sorted(os.listdir(tmp_path)) == ["in.parquet", "out.parquet"]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# -- processes ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_several_processes_keep_the_order(model: Path, expected: np.ndarray, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", table(X), 300)
    assert (
        main(
            ["predict", str(model), str(source), "-o", str(tmp_path / "y.npy"), "--columns", "x", "--processes", "2", "--batch-rows", "37"]
        )
        == 0
    )
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), expected)
    np.save(tmp_path / "x.npy", X)
    assert (
        main(["predict", str(model), str(tmp_path / "x.npy"), "-o", str(tmp_path / "z.parquet"), "--processes", "2", "--batch-rows", "37"])
        == 0
    )
    np.testing.assert_array_equal(numbers(read(tmp_path / "z.parquet")["dense_2"]), expected)


@pytest.mark.slow
def test_functions_of_the_callers_in_processes(tmp_path: Path) -> None:
    model = batch_files.model_file(tmp_path)
    (tmp_path / "own.py").write_text("import numpy as np\ncustom_activations = {'dense_2:activation': np.cos}\n")
    source = write(tmp_path / "in.parquet", table(X), 300)
    arguments = ["predict", str(model), str(source), "--columns", "x", "--custom", str(tmp_path / "own.py")]
    assert main([*arguments, "-o", str(tmp_path / "one.parquet")]) == 0
    assert main([*arguments, "-o", str(tmp_path / "two.parquet"), "--processes", "2"]) == 0
    assert read(tmp_path / "one.parquet").equals(read(tmp_path / "two.parquet"))
    plain = fastlstm.load(model).predict(X)
    assert not np.array_equal(numbers(read(tmp_path / "one.parquet")["dense_2"]), plain)


def test_row_groups_that_processes_read(tmp_path: Path) -> None:
    """From any row on; small ones together."""
    with ParquetSource(str(write(tmp_path / "in.parquet", table(X[:250]), 100)), Reading()) as source:
        found = source.ranges(0)
        assert found.parts == [(0, 100), (100, 100), (200, 50)]
        assert found.joined(150).parts == [(0, 100), (100, 150)]
        assert found.joined(1000).parts == [(0, 250)]
        assert source.ranges(130).parts == [(130, 70), (200, 50)]
        assert source.ranges(200).parts == [(200, 50)]
        assert source.ranges(250).parts == []
    with found.opened() as source:
        read = [batch["id"].to_pylist() for batch in some(source.batches(["id"], 40, 130), 70)]
    assert [one for batch in read for one in batch] == [*range(130, 200)]


@pytest.mark.slow
def test_processes_that_read_go_on_in_a_row_group(model: Path, expected: np.ndarray, tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.parquet", table(X), 150), tmp_path / "out.parquet"
    stopped(model, source, target, 400, batch_rows=70)
    with Job(Predictor(model, inputs="x"), options(batch_rows=70, processes=2)) as made:
        assert made._computing.ranges(made.opened(str(source), "parquet"), Plan(("x",), (), 100), 0) is not None
        done = made.run(str(source), str(target))
    assert done.begun == 370
    np.testing.assert_array_equal(numbers(read(target)["dense_2"]), expected)
    assert read(target)["id"].to_pylist() == [*range(1000)]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_null_is_told_with_its_batch(model: Path, tmp_path: Path, processes: int) -> None:
    found = table(X[:300])
    lists = found["x"].to_pylist()
    lists[215] = None
    source = write(tmp_path / "in.parquet", found.set_column(2, "x", pa.array(lists, found["x"].type)), 100)
    with (
        Job(Predictor(model, inputs="x"), options(processes=processes, part_seconds=60)) as made,
        pytest.raises(fastlstm.InputError, match=r"in\.parquet: batch that begins with row 200: .*'x'.*row 15"),
    ):
        made.run(str(source), str(tmp_path / "out.parquet"))
    assert os.listdir(tmp_path) == ["in.parquet"]


@pytest.mark.slow
def test_a_file_that_is_gone_when_a_process_reads_it(model: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", table(X), 100)

    def watch(progress: Progress) -> None:
        source.unlink(missing_ok=True)

    with (
        Job(Predictor(model, inputs="x"), options(processes=2, part_seconds=60), watch=watch) as made,
        pytest.raises(fastlstm.InputError, match=r"in\.parquet: cannot be read"),
    ):
        made.run(str(source), str(tmp_path / "out.parquet"))
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("groups", [1000, 50], ids=["handed", "read"])
def test_a_process_that_is_killed(model: Path, tmp_path: Path, groups: int) -> None:
    source, target = write(tmp_path / "in.parquet", table(X), groups), tmp_path / "out.parquet"
    killed = []

    def watch(progress: Progress) -> None:
        if not killed:
            for one in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
                if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes() and not killed:
                    os.kill(int(one), signal.SIGKILL)
                    killed.append(one)

    with (
        Job(Predictor(model, inputs="x"), options(processes=2, part_seconds=60), watch=watch) as made,
        pytest.raises(
            fastlstm.FastLSTMError,
            match="--processes: one of the processes that compute has ended, killed from outside or for want of memory",
        ),
    ):
        made.run(str(source), str(target))
    assert os.listdir(tmp_path) == ["in.parquet"]


# -- sequences by key -------------------------------------------------------------------------------------------------------------------


def steps(lengths: list[int], keys: list[Any]) -> tuple[Any, list[np.ndarray]]:
    """A row a step, the steps of each key in disorder, and the sequences."""
    rng = np.random.default_rng(5)
    tables, sequences = [], []
    for length, key in zip(lengths, keys):
        x = rng.normal(size=(length, 3)).astype(np.float32)
        order = rng.permutation(length)
        tables.append(pa.table({"key": [key] * length, "t": order, "a": x[order, 0], "b": x[order, 1], "c": x[order, 2]}))
        sequences.append(x)
    return pa.concat_tables(tables), sequences


@pytest.mark.parametrize("kind", ["numbers", "texts"])
@pytest.mark.parametrize("ending", [".parquet", ".csv", ".arrow"])
def test_a_row_per_step(tmp_path: Path, ending: str, kind: str) -> None:
    model = batch_files.open_model_file(tmp_path)
    lengths = [1, 7, 30, 2, 90, 1, 1, 13]
    keys: list[Any] = [3, 1, -1, -2, 9, 8, 7, 2] if kind == "numbers" else [f"k{n}" for n in range(8)]
    found, sequences = steps(lengths, keys)
    source = write(tmp_path / f"in{ending}", found, 40)
    arguments = ["predict", str(model), str(source), "--columns", "a,b,c", "--key", "key", "--order", "t", "-o"]
    for rows_at_once in ("1", "10", "1000"):
        assert main([*arguments, str(tmp_path / "out.parquet"), "--batch-rows", rows_at_once]) == 0
        out = read(tmp_path / "out.parquet")
        assert out["key"].to_pylist() == keys
        np.testing.assert_array_equal(numbers(out["dense_2"]), fastlstm.load(model).predict(sequences).ravel())


def test_keys_go_on_where_they_were_stopped(tmp_path: Path) -> None:
    model = batch_files.open_model_file(tmp_path)
    found, sequences = steps([5] * 40, list(range(40)))
    source, target = write(tmp_path / "in.parquet", found), tmp_path / "out.parquet"
    predictor = Predictor(model, inputs=["a", "b", "c"], key="key", order="t")
    with pytest.raises(Stopped), Job(predictor, options(batch_rows=7), watch=stopping(60)) as made:
        made.run(str(source), str(target))
    with Job(predictor, options(batch_rows=7)) as made:
        done = made.run(str(source), str(target))
    assert done.begun > 0 and done.begun % 5 == 0
    out = read(target)
    assert out["key"].to_pylist() == list(range(40))
    np.testing.assert_array_equal(numbers(out["dense_2"]), fastlstm.load(model).predict(sequences).ravel())


def test_rows_that_may_be_timesteps(tmp_path: Path, capsys: Any) -> None:
    """Without a key each row is a sequence, of one timestep: told, as it is seldom meant."""
    model = batch_files.open_model_file(tmp_path)
    found, _ = steps([3, 4], ["a", "b"])
    (tmp_path / "in").mkdir()
    source, note = write(tmp_path / "in/in.parquet", found), "each row is read as a sequence of 1 timestep; if it is a timestep, pass --key"
    arguments = ["predict", str(model), str(source), "--columns", "a,b,c", "-o", str(tmp_path / "out.parquet")]
    assert main(arguments) == 0
    assert note in capsys.readouterr().err
    assert main(["predict", str(model), str(tmp_path / "in"), "--columns", "a,b,c", "-o", str(tmp_path / "folder")]) == 0
    assert note in capsys.readouterr().err
    for more in (["-q"], ["--key", "key"]):
        assert main([*arguments, *more]) == 0
        assert note not in capsys.readouterr().err


def test_a_key_that_comes_again(tmp_path: Path, capsys: Any) -> None:
    model = batch_files.open_model_file(tmp_path)
    found, _ = steps([3, 4, 2], ["a", "b", "a"])
    source = write(tmp_path / "in.parquet", found)
    arguments = ["predict", str(model), str(source), "--columns", "a,b,c", "--key", "key", "-o", str(tmp_path / "out.parquet")]
    for more in ([], ["--batch-rows", "2"], ["--batch-rows", "4"]):
        assert main([*arguments, *more]) == 1
        assert (
            "in.parquet: --key: expected all rows of a key one after another, found key 'a' again in row 7, after others; "
            in capsys.readouterr().err
        )
    assert not (tmp_path / "out.parquet").exists()
