"""Load and release, again and again: memory and open files stay as they are, also where files are refused half way.

``FASTLSTM_CYCLES`` says how often, a hundred times by default.
"""

from __future__ import annotations

import copy
import gc
import os
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import golden
import h5py
import numpy as np
import pytest
from fuzz import mutation, recipes

import fastlstm

CYCLES = int(os.environ.get("FASTLSTM_CYCLES", "100"))
#: Kilobytes that memory may grow by: much less than one model for each cycle.
ALLOWED = 1024

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells what is in use")


def resident() -> int:
    """Kilobytes of this process in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def spoilt(recipe: Any) -> Any:
    """A recipe whose last weights have a shape that does not fit, which is found out late."""
    altered = copy.deepcopy(recipe)
    last = [
        container[key]
        for container, key in mutation.places(altered)
        if isinstance(container[key], dict) and {"shape", "dtype"} == set(container[key]) and not key.startswith("case/")
    ][-1]
    last["shape"] = [1, 1, 1]
    return altered


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Bytes of model files of every kind: whole, cut off, and with an array that does not fit."""
    folder = tmp_path_factory.mktemp("files")
    golden.unpack(golden.OWN, folder)
    whole = folder / "keras-3.15" / "lstm_masked.h5"
    fastlstm.convert(whole, folder / "m.fastlstm")
    with h5py.File(whole) as file:
        made: dict[str, tuple[Callable[[Any], bytes], Any]] = {".h5": (recipes.hdf5, recipes.of_group(file))}
    made[".keras"] = recipes.keras, recipes.of_keras(whole.with_suffix(".keras").read_bytes())
    made[".fastlstm"] = recipes.own, recipes.of_own((folder / "m.fastlstm").read_bytes())
    found = {}
    for kind, (make, recipe) in made.items():
        found[kind] = make(recipe)
        found[f"cut{kind}"] = found[kind][: len(found[kind]) * 9 // 10]
        found[f"spoilt{kind}"] = make(spoilt(recipe))
    return found


@pytest.mark.parametrize("by", ["path", "bytes"])
@pytest.mark.parametrize("name", [f"{how}{kind}" for kind in (".h5", ".keras", ".fastlstm") for how in ("", "cut", "spoilt")])
def test_cycles(files: dict[str, bytes], tmp_path: Path, name: str, by: str) -> None:
    path = tmp_path / f"model{name}"
    path.write_bytes(files[name])
    given = path if by == "path" else files[name]
    x = np.ones((2, 6, 3), np.float32)

    def once() -> Any:
        try:
            return fastlstm.load(given).predict(x).tolist()
        except fastlstm.FormatError:
            return "refused"

    expected = once()
    assert (expected == "refused") == (not name.startswith("."))
    for _ in range(max(20, CYCLES // 50)):
        once()
    memory, handles = resident(), os.listdir("/proc/self/fd")
    for _ in range(CYCLES):
        assert once() == expected
    assert len(os.listdir("/proc/self/fd")) == len(handles)
    assert resident() - memory <= ALLOWED


def test_a_model_goes_when_its_last_user_lets_go(files: dict[str, bytes], tmp_path: Path) -> None:
    """At once, without Python's search for circles, which may come much later: weights can be large."""
    (tmp_path / "model.h5").write_bytes(files[".h5"])
    gc.collect()
    gc.disable()
    try:
        model = fastlstm.load(tmp_path / "model.h5")
        spec = weakref.ref(model.spec)  # its layers hold on to it
        arrays = [weakref.ref(array) for layer in model.spec.layers for array in layer.weights]
        del model
        assert spec() is None
        assert not any(array() is not None for array in arrays)
    finally:
        gc.enable()
