"""The commands that write files, and what lies in a folder before and after: for the tests that nothing gets lost."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import h5_files
import numpy as np
import pytest

import fastlstm
from fastlstm import demo
from fastlstm.cli.main import main

FEATURES = 3
ROWS = 40
EARLIER = b"what stood there before"
NOBODY = 65534  # a user without rights
POSIX = pytest.mark.skipif(os.name != "posix", reason="links, devices and users as POSIX has them")


class Work(NamedTuple):
    """A command that writes a file."""

    arguments: list[str]
    target: Path
    sources: list[Path]  # what it reads


KINDS = ("convert", "npy", "npz", "csv", "svg", "bars", "plot")


def make_model(folder: Path) -> Path:
    """LSTM on (any, 3), Dense(2)."""
    rng = np.random.default_rng(0)
    layers = [h5_files.recurrent("LSTM", 4, FEATURES, rng), h5_files.dense(2, 4, rng)]
    return h5_files.save(folder / "model.h5", layers, (None, FEATURES))


def prepared(kind: str, folder: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int = ROWS) -> Work:
    """A command in a folder of its own with copies of what it reads."""
    model = folder / "model.h5"
    if kind == "plot":
        pytest.importorskip("matplotlib")
        copies = [Path(shutil.copy(path, folder)) for path in demo.FILES]
        for name, copy in zip(("MODEL", "SERIES", "RECORDED"), copies):
            monkeypatch.setattr(demo, name, copy)
        monkeypatch.setattr(demo, "FILES", tuple(copies))
        return Work(["demo", "--plot"], folder / "out.png", copies)
    shutil.copy(model_path, model)
    if kind == "convert":
        return Work(["convert", str(model)], folder / "out.fastlstm", [model])
    if kind == "svg":
        return Work(["describe", str(model), "--svg"], folder / "out.svg", [model])
    if kind == "bars":
        return Work(["bench", str(model), "--vs", "", "--rows", "1", "--plot"], folder / "bars.svg", [model])
    data = folder / f"data.{kind}"
    x = np.random.default_rng(1).normal(size=(rows, 2, FEATURES)).astype(np.float32)
    if kind == "npy":
        np.save(data, x)
    elif kind == "npz":
        np.savez(data, x)
    else:
        np.savetxt(data, x.reshape(rows, -1), delimiter=",")
    return Work(["predict", str(model), str(data), "-o"], folder / f"out.{kind}", [data, model])


def run(work: Work, target: Path | str | None = None) -> int:
    """Run it in this process; gives the exit code."""
    return main([*work.arguments, str(target or work.target)])


def reads_back(path: Path) -> bool:
    """Whether a file is whole."""
    ending = path.suffix
    if ending == ".fastlstm":
        return fastlstm.verify(path).passed
    if ending == ".png":
        return path.read_bytes().endswith(b"IEND\xaeB`\x82")
    if ending == ".svg":
        return ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    if ending == ".npz":
        with np.load(path) as archive:
            return all(len(array) == ROWS for array in archive.values())
    return len(np.load(path) if ending == ".npy" else path.read_text().splitlines()) == ROWS


def standing(folder: Path) -> dict[str, tuple[int, str, bytes]]:
    """All that lies in a folder: modes, where links lead, contents of files."""
    found = {}
    for path in sorted(folder.iterdir()):
        status = path.lstat()
        found[path.name] = (
            status.st_mode,
            os.readlink(path) if path.is_symlink() else "",
            path.read_bytes() if stat.S_ISREG(status.st_mode) else b"",
        )
    return found
