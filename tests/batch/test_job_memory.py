"""The memory that jobs take, and what they show meanwhile."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import batch_files
import numpy as np
import pytest
from batch_files import rows, table, write

from fastlstm.batch.jobs.job import Progress
from fastlstm.cli import progress
from fastlstm.cli.main import main

pa = pytest.importorskip("pyarrow")

X = rows(1000)


def peak(*arguments: object) -> float:
    """Megabytes that the command has had at most, without pages of files."""
    code = (
        "import re, sys, threading, time\n"
        "from fastlstm.cli.main import main\n"
        "most = [0]\n"
        "def look():\n"
        "    while True:\n"
        "        text = open('/proc/self/smaps_rollup').read()\n"
        "        most[0] = max(most[0], int(re.search(r'Pss:\\s+(\\d+)', text)[1]))\n"
        "        time.sleep(0.005)\n"
        "threading.Thread(target=look, daemon=True).start()\n"
        "code = main(sys.argv[1:])\n"
        "print(most[0] / 1024)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments), "-q"], capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells what memory a process has")
@pytest.mark.parametrize("ending", [".parquet", ".arrow", ".npy", ".npz", ".csv", ".jsonl"])
def test_memory_does_not_grow_with_the_file(model: Path, tmp_path: Path, ending: str) -> None:
    sizes = []
    for count in (40_000, 400_000):
        source, columns = tmp_path / f"in{count}{ending}", ["--columns", "x", "--keep", ""]
        x = np.tile(X, (count // 1000, 1, 1))
        if ending in (".npy", ".npz"):
            (np.save if ending == ".npy" else np.savez)(source, x.astype(np.float64))  # 48 MB
            columns = []
        elif ending == ".csv":
            flat = pa.table({f"a{n}": x.reshape(count, -1)[:, n] for n in range(15)})
            write(source, flat)
            columns = ["--columns", batch_files.WIDE]
        elif ending == ".jsonl":
            line = json.dumps({"x": X[0].ravel().tolist()}) + "\n"
            source.write_text(line * (count // 4))
        else:
            write(source, table(x).select(["x"]))  # in one row group, one record batch
        sizes.append(peak("predict", model, source, "-o", tmp_path / "y.npy", *columns, "--batch-rows", "8000"))
    assert sizes[1] - sizes[0] < (50 if ending == ".csv" else 20), sizes  # Arrow parses blocks of CSV ahead


def test_the_bar_of_rows() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    bar = progress.RowBar("reading in.parquet", Terminal())
    assert re.fullmatch(r"reading in.parquet, \d+ s", bar._line())
    bar._start = bar._since = time.monotonic() - 10
    bar.rows(Progress("in.parquet", 5_000, 1_000, 0.25))
    line = bar._line()
    assert line.startswith(" 25% [#######.......................] in.parquet, 5,000 rows, ")
    assert re.search(r", (399|400) a second, (37|38) s left$", line)
    bar.files(2, 12)
    bar.rows(Progress("b.csv", 10, 0, None))
    assert re.fullmatch(r"file 3 of 12, b.csv, 10 rows, \d+ a second", bar._line())
    assert [progress.duration(one) for one in (0.4, 61, 3_700)] == ["0 s", "1 min 01 s", "1 h 01 min"]


def test_no_bar_where_there_is_no_terminal(model: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "in.parquet", table(X))
    monkeypatch.setattr(progress, "LONG_SECONDS", 0.0)
    assert (
        main(["predict", str(model), str(source), "-o", str(tmp_path / "out.parquet"), "--columns", "x", "--batch-rows", "10", "-q"]) == 0
    )
    assert not capsys.readouterr().err
