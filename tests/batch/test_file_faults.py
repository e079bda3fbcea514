"""What is wrong with files, disks and rows: the message, and what stands afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import batch_files
import numpy as np
import pytest
from advice import follows
from batch_files import SIZE, WIDE, numbers, read, rows, table, wide, write

import fastlstm
from fastlstm.cli.main import main

pa = pytest.importorskip("pyarrow")

X = rows(200)


@pytest.fixture
def refused(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a job that must fail; gives what is said. The earlier output stands, and nothing beside it."""

    def refuse(source: object, *more: str, target: str = "out.parquet") -> str:
        (tmp_path / target).write_bytes(b"earlier")
        before = sorted(os.listdir(tmp_path))
        assert main(["predict", str(model), str(source), "-o", str(tmp_path / target), *more]) == 1
        out, err = capsys.readouterr()
        assert (tmp_path / target).read_bytes() == b"earlier"
        assert sorted(os.listdir(tmp_path)) == before
        assert not out and err.startswith("fastlstm: error: ") and "Traceback" not in err
        return err.removeprefix("fastlstm: error: ").rstrip("\n")

    return refuse


# -- columns and values -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".csv", ".jsonl"])
def test_missing_column(refused: Any, tmp_path: Path, ending: str) -> None:
    source = write(tmp_path / f"in{ending}", wide(X).select(["id", "a0"]))
    assert refused(source, "--columns", "a0,b") == f"{source}: input 'lstm_1_input': expected a column 'b', found the columns 'id', 'a0'"
    said = refused(source, "--columns", "a0", "--keep", "who")
    assert said == f"{source}: expected a column 'who' (--keep), found the columns 'id', 'a0'"
    said = refused(source, "--columns", "a0", "--key", "who")
    assert said == f"{source}: expected a column 'who' (--key), found the columns 'id', 'a0'"


@follows("--columns")
def test_nobody_says_which_column(refused: Any, model: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", table(X).append_column("z", pa.array(range(200))))
    said = refused(source)
    assert said.startswith(f"{source}: --columns: expected a column 'lstm_1_input' for the input of this name, or to be told which it is")
    assert "such as --columns id,x,z" in said
    assert main(["predict", str(model), str(source), "-o", str(tmp_path / "out.parquet"), "--columns", "lstm_1_input=x"]) == 0


def test_wrong_width(refused: Any, tmp_path: Path) -> None:
    lists = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), SIZE * 2)
    source = write(tmp_path / "in.parquet", pa.table({"x": lists}))
    said = refused(source)
    assert said.startswith(f"{source}: ") and "'x'" in said and "(any, 5, 3)" in said and "30" in said
    source = write(tmp_path / "in.csv", wide(X))
    assert "(any, 5, 3)" in refused(source, "--columns", "a0,a1,a2,a3")


@follows("--nulls skip")
@follows("--nulls 0")
@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl", ".arrow"])
def test_nulls(refused: Any, model: Path, tmp_path: Path, ending: str) -> None:
    found = wide(X)
    column = found["a3"].to_pylist()
    column[150] = None
    source = write(tmp_path / f"in{ending}", found.set_column(4, "a3", pa.array(column, pa.float32())))
    arguments = ["--columns", WIDE, "--batch-rows", "100"]
    said = refused(source, *arguments)
    assert said.startswith(f"{source}: batch that begins with row 100: column 'a3': expected no nulls, found one in row 50; --nulls skip")
    assert "--nulls 0" in said
    target = tmp_path / "out.parquet"
    assert main(["predict", str(model), str(source), "-o", str(target), *arguments, "--nulls", "skip"]) == 0
    out = read(target)
    assert out.num_rows == 200 and out["dense_2"].null_count == 1 and out["dense_2"][150].as_py() is None
    filled = X.copy()
    filled[150, 1, 0] = 0.25
    assert main(["predict", str(model), str(source), "-o", str(target), *arguments, "--nulls", "0.25"]) == 0
    np.testing.assert_array_equal(numbers(read(target)["dense_2"]), fastlstm.load(model).predict(filled))


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".arrow"])
def test_nan_is_a_number(model: Path, tmp_path: Path, ending: str) -> None:
    x = X.copy()
    x[7, 2, 1] = np.nan
    x[9, 0, 0] = np.inf
    source = write(tmp_path / f"in{ending}", wide(x))
    assert main(["predict", str(model), str(source), "-o", str(tmp_path / "y.npy"), "--columns", WIDE]) == 0
    found = np.load(tmp_path / "y.npy")
    np.testing.assert_array_equal(found, fastlstm.load(model).predict(x))
    assert np.isnan(found[7]).all() and not np.isnan(found[8]).any()


def test_text_where_numbers_are_expected(refused: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", wide(X))
    lines = source.read_text().splitlines()
    cells = lines[100].split(",")
    cells[3] = "many"
    source.write_text("\n".join([*lines[:100], ",".join(cells), *lines[101:]]))
    said = refused(source, "--columns", WIDE)
    assert said.startswith(f"{source}: cannot be read as CSV: ") and "'many'" in said and "Row #101" in said
    source = write(tmp_path / "in.jsonl", wide(X))
    source.write_text(source.read_text().replace('"a2": ', '"a2": "many", "b": ', 1))
    assert "in.jsonl: " in refused(source, "--columns", WIDE)
    source = write(tmp_path / "in.parquet", pa.table({"x": ["a", "b"]}))
    assert "expected" in refused(source, "--columns", "x")


def test_lines_of_csv(refused: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", wide(X))
    lines = source.read_text().splitlines()
    source.write_text("\n".join([*lines[:50], "1,2,3", *lines[50:]]))
    said = refused(source, "--columns", WIDE)
    assert said == f"{source}: cannot be read as CSV: CSV parse error: Row #51: Expected 16 columns, got 3: 1,2,3"
    source.write_text("")
    assert refused(source, "--columns", WIDE) == f"{source}: expected CSV with a first line of names, found an empty file"
    source.write_text("a,b,a\n1,2,3\n")
    assert refused(source, "--columns", "a") == f"{source}: expected each column once, found 'a' twice in the first line"


def test_lines_of_json(refused: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", wide(X))
    lines = source.read_text().splitlines()
    source.write_text("\n".join([*lines[:50], '{"a0": 1, ', *lines[50:]]))
    assert refused(source, "--columns", WIDE).startswith(f"{source}: cannot be read as JSON lines: line 51: ")
    source.write_text("\n".join([*lines[:50], "[1, 2]", *lines[50:]]))
    assert refused(source, "--columns", WIDE).startswith(f"{source}: cannot be read as JSON lines: line 51 is no object: ")
    source.write_text("")
    assert refused(source, "--columns", WIDE) == f"{source}: expected an object of JSON in each line, found an empty file"


# -- files that were cut off --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".feather", ".npy", ".npz"])
def test_truncated_files(refused: Any, tmp_path: Path, ending: str, share: float) -> None:
    source = tmp_path / f"in{ending}"
    if ending == ".npy":
        np.save(source, X)
    elif ending == ".npz":
        np.savez(source, X)
    else:
        write(source, table(X), 50)
    data = source.read_bytes()
    source.write_bytes(data[: int(share * len(data))])
    more = [] if ending in (".npy", ".npz") else ["--columns", "x"]
    said = refused(source, *more)
    assert said.startswith(f"{source}: ")
    assert len(said) < 500


def test_a_stream_that_is_cut(refused: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "in.arrows", table(X), 50)
    source.write_bytes(source.read_bytes()[:-3000])
    assert refused(source, "--columns", "x").startswith(f"{source}: cannot be read as Arrow")


def test_damage_in_the_middle(refused: Any, tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    pa.parquet.write_table(table(X), source, row_group_size=50, compression="zstd", write_page_checksum=True)
    data = bytearray(source.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = os.urandom(400)
    source.write_bytes(data)
    assert refused(source, "--columns", "x", "--batch-rows", "50").startswith(f"{source}: ")


def test_no_such_file(refused: Any, tmp_path: Path) -> None:
    assert refused(tmp_path / "in.parquet") == f"{tmp_path}/in.parquet: cannot be read (No such file or directory)"
    (tmp_path / "in.xyz").write_bytes(b"")
    assert refused(tmp_path / "in.xyz").startswith(f"{tmp_path}/in.xyz: expected a file ending in .parquet, .pq,")


def test_not_what_its_name_says(refused: Any, tmp_path: Path) -> None:
    for name in ("in.parquet", "in.arrow", "in.jsonl", "in.npz"):
        (tmp_path / name).write_bytes(b"some text that is no such file\n" * 10)
        assert refused(tmp_path / name).startswith(f"{tmp_path}/{name}: cannot be read as ")


# -- what is written ----------------------------------------------------------------------------------------------------------------------


def test_output_is_the_input(model: Path, tmp_path: Path, capsys: Any) -> None:
    source = write(tmp_path / "in.parquet", table(X))
    before = source.read_bytes()
    (tmp_path / "link.parquet").symlink_to(source)
    for target in (source, tmp_path / "link.parquet"):
        assert main(["predict", str(model), str(source), "-o", str(target), "--columns", "x"]) == 1
        assert "cannot be written: it is the file that is read" in capsys.readouterr().err
    assert source.read_bytes() == before


@pytest.mark.skipif(os.geteuid() == 0, reason="everything can be written by root")
def test_folder_that_is_protected(model: Path, tmp_path: Path, capsys: Any) -> None:
    source = write(tmp_path / "in.parquet", table(X))
    (tmp_path / "out").mkdir(mode=0o500)
    assert main(["predict", str(model), str(source), "-o", str(tmp_path / "out/y.parquet"), "--columns", "x"]) == 1
    assert "cannot be written: no file can be made in the folder" in capsys.readouterr().err


def test_folder_that_is_not_there(model: Path, tmp_path: Path, capsys: Any) -> None:
    source = write(tmp_path / "in.parquet", table(X))
    assert main(["predict", str(model), str(source), "-o", str(tmp_path / "out/y.parquet"), "--columns", "x"]) == 1
    assert f"there is no folder {tmp_path}/out; make it first" in capsys.readouterr().err


#: The command where no file may have more than so many bytes, as on a disk that is full.
LIMITED = """
import resource, signal, sys
from fastlstm.batch.jobs import planning
from fastlstm.cli.main import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.exit(main(sys.argv[2:]))
"""


def limited(size: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", LIMITED, str(size), *map(str, arguments)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".csv", ".jsonl", ".npy", ".npz"])
def test_full_disk(model: Path, tmp_path: Path, ending: str) -> None:
    source, target = write(tmp_path / "in.parquet", table(np.tile(X, (20, 1, 1)))), tmp_path / f"out{ending}"
    target.write_bytes(b"earlier")
    done = limited(10_000, "predict", model, source, "-o", target, "--columns", "x", "--batch-rows", "500")
    assert done.returncode == 1
    assert done.stderr == f"fastlstm: error: {target}: cannot be written (File too large); the earlier file is left as it was\n"
    assert target.read_bytes() == b"earlier"
    assert sorted(os.listdir(tmp_path)) == ["in.parquet", target.name]


def test_full_disk_stops_a_folder(model: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in "abc":
        write(tmp_path / f"in/{name}.parquet", table(X if name == "a" else np.tile(X, (20, 1, 1))))
    done = limited(10_000, "predict", model, tmp_path / "in", "-o", tmp_path / "out", "--columns", "x")
    assert done.returncode == 1
    assert done.stderr == f"fastlstm: error: {tmp_path}/out/b.parquet: cannot be written (File too large)\n"
    assert [one for one in os.listdir(tmp_path / "out") if not one.startswith(".")] == ["a.parquet"]
    assert main(["predict", str(model), str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--columns", "x"]) == 0


def test_a_kind_that_cannot_hold_it(refused: Any, tmp_path: Path) -> None:
    source = write(tmp_path / "in.parquet", table(X))
    said = refused(source, "--columns", "x", "--keep", "id", target="out.npy")
    assert said == f"{tmp_path}/out.npy: a .npy file holds one array, there are 2 (id, dense_2): expected a .npz file"


def test_lists_of_open_length_in_csv(tmp_path: Path, capsys: Any) -> None:
    model = batch_files.model_file(tmp_path, return_sequences=True)
    found = table(X).append_column("l", pa.array([[1] * (n % 3) for n in range(200)]))
    source = write(tmp_path / "in.parquet", found)
    assert main(["predict", str(model), str(source), "-o", str(tmp_path / "out.csv"), "--columns", "x", "--keep", "l"]) == 1
    assert "column 'l' is of list<" in capsys.readouterr().err


def test_options_that_contradict(model: Path, tmp_path: Path, capsys: Any) -> None:
    np.save(tmp_path / "x.npy", X)
    source = write(tmp_path / "in.parquet", table(X))
    for arguments, expected in (
        ([tmp_path / "x.npy", "--columns", "x"], "x.npy: expected columns with names for --columns, found arrays; leave --columns out"),
        ([tmp_path / "x.npy", "--key", "id"], "x.npy: expected columns with names for --key, found arrays; leave --key out"),
        ([source, "--columns", "x", "--key", "id", "--keep", "name"], "--keep: with --key there is a row for each key"),
        ([source, "--columns", "a=x", "--columns", "a=y"], "--columns: expected INPUT=A,B for each input once, found a=x, a=y"),
        ([source, "--columns", "x", "--series"], "--series: expected a .csv file without names of columns"),
        (
            [source, "--order", "id", "--columns", "x"],
            "--order: expected --key too, the column that tells sequences apart, found --order id alone",
        ),
    ):
        assert main(["predict", str(model), *map(str, arguments), "-o", str(tmp_path / "out.parquet")]) == 1
        assert expected in capsys.readouterr().err
    for wrong in (["--keep", "a,,b"], ["--nulls", "many"], ["--processes", "0"], ["--output-format", "txt"]):
        with pytest.raises(SystemExit, match=r"^2$"):
            main(["predict", str(model), str(source), *wrong])


def test_models_whose_rows_depend_on_each_other(tmp_path: Path, capsys: Any) -> None:
    model = batch_files.model_file(tmp_path)
    stateful = tmp_path / "stateful.h5"
    rng = np.random.default_rng(0)
    import h5_files

    h5_files.save(stateful, [h5_files.recurrent("LSTM", 4, 3, rng, stateful=True)], (5, 3), batch=6)
    assert model.exists()
    source = write(tmp_path / "in.parquet", table(X))
    assert main(["predict", str(stateful), str(source), "-o", str(tmp_path / "out.parquet"), "--columns", "x"]) == 1
    assert "expected a model whose rows are computed alone, found a stateful one" in capsys.readouterr().err
