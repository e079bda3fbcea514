"""CSV as people have it: headings, empty cells, dates, text, quotes, encodings. Each piece of advice is followed and works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fastlstm import InputError
from fastlstm.cli import csvlines


def read(tmp_path: Path, content: str | bytes) -> list[list[float]]:
    path = tmp_path / "x.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [line.values for line in csvlines.read(path)]


def refused(tmp_path: Path, content: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        read(tmp_path, content)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'x.csv'}: ")
    return message.removeprefix(f"{tmp_path / 'x.csv'}: ")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("a,b\n1,2\n", [[1, 2]]),
        (",a,b\n0,1,2\n", [[0, 1, 2]]),  # pandas: the heading of its index is empty
        ('"a","b, in °C"\n1,2\n', [[1, 2]]),
        ('"1","2"\n"3","4"\n', [[1, 2], [3, 4]]),
        ("# a b\n1 2\n 3  4\n", [[1, 2], [3, 4]]),
        ("# 2019,2020\n1,2\n", [[1, 2]]),
        ("\ufeffa;b\r\n1;2\r\n\r\n", [[1, 2]]),
        ("1\t2\n3\t4", [[1, 2], [3, 4]]),
        ("1,2,,\n3,4,5,6\n,,,\n", [[1, 2], [3, 4, 5, 6]]),
        ("1\n2,3\n4,5,6\n", [[1], [2, 3], [4, 5, 6]]),  # lines differ in length, and the first has nothing to separate
        ("1\n2\n", [[1], [2]]),
        ("1 2\n3 4\n", [[1, 2], [3, 4]]),
        ("a\n-1e-3\n", [[-1e-3]]),
        ("-inf,1\n", [[-float("inf"), 1]]),
    ],
)
def test_read(tmp_path: Path, content: str, expected: list[list[float]]) -> None:
    assert read(tmp_path, content) == expected


def test_nan_is_a_number(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "nan,NaN,1\n")
    assert row[0] != row[0]
    assert row[1] != row[1]


@pytest.mark.parametrize(
    ("content", "expected", "followed"),
    [
        (
            "time,load,wind\n1,2,3\n4,,6\n7,8,9\n",
            "line 3, column 2 ('load'): expected a number, found an empty cell; put a number there, or leave out the line or the column",
            ["time,load,wind\n1,2,3\n4,5,6\n7,8,9\n", "time,load,wind\n1,2,3\n7,8,9\n", "time,wind\n1,3\n4,6\n7,9\n"],
        ),
        (
            "date,load\n2020-01-01,2\n2020-01-02,3\n",
            "line 2, column 1 ('date'): expected a number, found '2020-01-01'; no line has a number in column 1 ('date'): "
            "leave it out of the file",
            ["load\n2\n3\n"],
        ),
        (
            "date,load,place,wind\n2020-01-01,2,Rome,\n2020-01-02,3,Oslo,5\n",
            "line 2, column 1 ('date'): expected a number, found '2020-01-01'; no line has a number in column 1 ('date'), "
            "column 3 ('place'): leave them out of the file",
            ["load,wind\n2,4\n3,5\n"],
        ),
        (
            "2020-01-01 10:00,2\n2020-01-02 10:00,3\n",
            "line 1, column 1: expected a number, found '2020-01-01 10:00'; no line has a number in column 1: leave it out of the file",
            ["2\n3\n"],
        ),
        (
            "a,b\n1,2\n1,two\n",
            "line 3, column 2 ('b'): expected a number, found 'two'; put a number there, or leave out the line or the column",
            ["a,b\n1,2\n1,2\n", "a,b\n1,2\n", "a\n1\n1\n"],
        ),
        (
            "id,1,2\n7,8,9\n",
            "line 1, column 1: expected a number, found 'id'; if line 1 is a heading, put a # before it",
            ["#id,1,2\n7,8,9\n"],
        ),
        (
            "1,,3\n4,5,6\n",  # no heading: it has numbers
            "line 1, column 2: expected a number, found an empty cell; put a number there, or leave out the line or the column",
            ["1,2,3\n4,5,6\n", "4,5,6\n", "1,3\n4,6\n"],
        ),
        (
            "NA\n1\n",  # no heading: a value is missing
            "line 1, column 1: expected a number, found 'NA'; if line 1 is a heading, put a # before it",
            ["#NA\n1\n", "0\n1\n"],
        ),
        (
            "a,b\n#N/A,1\n2,3\n",  # no comment: a spreadsheet could not compute it
            "line 2, column 1 ('a'): expected a number, found '#N/A'; put a number there, or leave out the line or the column",
            ["a,b\n0,1\n2,3\n", "a,b\n2,3\n", "b\n1\n3\n"],
        ),
        (
            "a;b\n1;2\n1,5;2\n",
            "line 3, column 1 ('a'): expected a number, found '1,5'; write it with a decimal point",
            ["a;b\n1;2\n1.5;2\n"],
        ),
        (
            "a,b\n1,2\n1_000,2\n",
            "line 3, column 1 ('a'): expected a number, found '1_000'; put a number there, or leave out the line or the column",
            ["a,b\n1,2\n1000,2\n"],
        ),
    ],
)  # fmt: skip
def test_refused(tmp_path: Path, content: str, expected: str, followed: list[str]) -> None:
    assert refused(tmp_path, content) == expected
    for better in followed:
        assert read(tmp_path, better)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "expected lines of numbers, found none"),
        (b"a,b\n", "expected lines of numbers, found none below the heading in line 1"),
        (b"\n# x\n", "expected lines of numbers, found none"),
        ("a,b\n1,2\n".encode("utf-16"), "expected text in UTF-8, found UTF-16; save it as 'CSV UTF-8'"),
        (
            "load,température\n1,2\n".encode("latin-1"),
            "expected text in UTF-8, found other bytes: invalid continuation byte at byte 9, in line 1; save it as 'CSV UTF-8'",
        ),
        (b"\x89HDF\r\n\x1a\n", "found other bytes: invalid start byte at byte 0, in line 1"),
        (b"1,2\n\x00,3\n", "line 2, column 1: expected a number, found '\\x00'"),
        (b"a\n1\n" + b"x" * 100, "line 3, column 1 ('a'): expected a number, found '" + "x" * 40 + "...'"),
        (b'1,"' + b"2" * 200_000 + b'"\n', "line 1: expected numbers"),
    ],
    ids=["nothing", "heading alone", "comment alone", "UTF-16", "Latin-1", "HDF5", "NUL", "long", "endless cell"],
)
def test_refused_whole(tmp_path: Path, content: bytes, expected: str) -> None:
    assert expected in refused(tmp_path, content)


def test_saved_as_utf8_it_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, "load,température\n1,2\n".encode("utf-8-sig")) == [[1, 2]]


def test_as_numpy_and_spreadsheets_write(tmp_path: Path) -> None:
    """Through the command line, where the model's shape counts; a short line says where it ends."""
    import h5_files
    import numpy as np

    rng = np.random.default_rng(0)
    model = h5_files.save(tmp_path / "m.h5", [h5_files.recurrent("LSTM", 4, 3, rng)], (None, 3))
    (tmp_path / "x.csv").write_text("a,b,c\n1,2,3\n1,2,\n")

    def message(*options: str) -> str:
        command = [sys.executable, "-m", "fastlstm", "predict", str(model), str(tmp_path / "x.csv"), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(csvlines.__file__).parents[1])
        assert done.returncode == 1
        return done.stderr

    said = message()
    assert "found 2 in row 2, which is line 3, whose column 3 is empty" in said
    assert "(--series if a line is a timestep, --columns if the model reads some of the columns)" in said
    assert "found 3 in line 2 and 2 in line 3, whose column 3 is empty" in message("--series")
