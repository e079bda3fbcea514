"""Twice the file, about twice the work: nothing that is done with a file grows with the square of what it holds, or worse."""

from __future__ import annotations

import contextlib
import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import costly_files
import h5py
import numpy as np
import pytest
from sweeping import swept

import fastlstm
from fastlstm import formats
from fastlstm.errors import FastLSTMError
from fastlstm.formats import own
from fastlstm.spec import Case

pytestmark = pytest.mark.slow


def own_weights(group: h5py.Group, number: int) -> None:
    group["vars/0"] = np.zeros(2, np.float32)


def converted(data: bytes, folder: Path, cases: tuple[Case, ...] = ()) -> bytes:
    """The same model as a ``.fastlstm`` file."""
    own.write(folder / "m.fastlstm", formats.read(data), cases)
    return (folder / "m.fastlstm").read_bytes()


def with_cases(count: int, folder: Path) -> bytes:
    one = np.ones((1, 5, 3), np.float32)
    case = Case("case", ((one,),), ((one,),), 1e-6)
    return converted(costly_files.h5(costly_files.sequential(("Activation", {"activation": "relu"}))), folder, (case,) * count)


def operations(count: int) -> bytes:
    """Activations of the user's own, each of another name."""
    layers = [("Activation", {"activation": f"Custom>f{number}"}) for number in range(count)]
    return costly_files.h5(costly_files.sequential(*layers))


def parts(count: int) -> bytes:
    """Names of one layer each, in attributes of their own."""
    stream = costly_files.io.BytesIO()
    with h5py.File(stream, "w", libver="latest") as file:
        file.attrs["keras_version"], file.attrs["model_config"] = "2.3.1", json.dumps(costly_files.chain_of(1))
        group = file.create_group("model_weights")
        for number in range(count):
            group.attrs[f"layer_names{number}"] = [f"l{number}".encode()]
            group.create_group(f"l{number}").attrs["weight_names"] = np.zeros(0)
    return stream.getvalue()


def trained(count: int) -> dict[str, Any]:
    """A model of so many layers that is called so often, in training."""
    config = costly_files.called(count, count)
    for node in config["config"]["layers"][1]["inbound_nodes"]:
        node[0][3] = {"training": True}
    return config


#: What grows, and from which size on.
FILES: dict[str, tuple[int, Callable[[int, Path], bytes]]] = {
    "layers in a chain": (300, lambda n, _: costly_files.h5(costly_files.sequential(*[("Activation", {"activation": "relu"})] * n))),
    "layers with weights": (60, lambda n, _: costly_files.dense_chain(n)),
    "layers in a graph": (300, lambda n, _: costly_files.h5(costly_files.chain_of(n))),
    "layers side by side": (120, lambda n, _: costly_files.h5(costly_files.wide(n))),
    "very many side by side": (520, lambda n, _: costly_files.h5(costly_files.wide(n))),
    "calls of a layer": (400, lambda n, _: costly_files.h5(costly_files.shared(n))),
    "calls of a model": (100, lambda n, _: costly_files.h5(costly_files.called(5, n))),
    "inputs": (300, lambda n, _: costly_files.h5(costly_files.inputs(n))),
    "one tensor, added": (500, lambda n, _: costly_files.h5(costly_files.functional(
        [costly_files.entrance("x", 3), costly_files.layer("Add", "s", [[costly_files.tensor("x")] * n])], [["x", 0, 0]], [["s", 0, 0]]))),
    "one output": (1000, lambda n, _: costly_files.h5(costly_files.functional(
        [costly_files.entrance("x", 3), costly_files.relu("a", [costly_files.tensor("x")])], [["x", 0, 0]], [["a", 0, 0]] * n))),
    "layers of .fastlstm": (100, lambda n, folder: converted(costly_files.dense_chain(n), folder)),
    "cases": (100, with_cases),
    "unknown activations": (300, lambda n, _: operations(n)),
    "unknown layers with arrays": (100, lambda n, _: costly_files.tree(n, own_weights)),
    "attributes": (100, lambda n, _: parts(n)),
    "members of a zip": (500, lambda n, _: costly_files.zipped({f"{number}": "" for number in range(n)})),
    "quotes in a string": (100_000, lambda n, _: costly_files.h5('["' + '\\"' * n)),
    "brackets": (50_000, lambda n, _: costly_files.h5("[" + "[]," * n + "[]]")),
}  # fmt: skip

#: Of these, those whose work is least in calls of functions, which test_twice counts.
IN_C = {"layers in a graph", "layers with weights", "cases", "attributes", "members of a zip", "quotes in a string", "brackets"}


def use(data: bytes) -> None:
    """All that is done with a file of a stranger's."""
    for action in (fastlstm.load, fastlstm.describe, fastlstm.verify if data[8:9] == b"{" else fastlstm.load):
        with contextlib.suppress(FastLSTMError):
            action(data)


def calls(data: bytes) -> int:
    """How many calls of functions that takes."""
    count = 0

    def note(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(note)
    try:
        use(data)
    finally:
        sys.setprofile(None)
    return count


def seconds(data: bytes) -> float:
    """The time of the processor that it takes, at the least."""
    found = []
    gc.collect()
    gc.freeze()  # what other tests left behind would be looked through anew for every few lists that are made here
    for _ in range(3):
        start = time.process_time()
        use(data)
        found.append(time.process_time() - start)
    gc.unfreeze()
    return min(found)


@pytest.mark.parametrize("what", FILES)
def test_twice_the_file_is_twice_the_work(what: str, tmp_path: Path) -> None:
    size, make = FILES[what]
    once, twice = make(size, tmp_path), make(2 * size, tmp_path)
    use(once)  # what is done once in a process
    assert calls(twice) <= 2.2 * calls(once) + 5000


@pytest.mark.parametrize("what", swept(FILES, IN_C.__contains__))
def test_eight_times_the_file_is_about_eight_times_the_time(what: str, tmp_path: Path) -> None:
    """Also of what is no call of a function: copies, look-ups in lists, comparisons. The square of eight would be 64."""
    size, make = FILES[what]
    small_one, large = make(size, tmp_path), make(8 * size, tmp_path)
    use(small_one)
    assert seconds(large) <= 20 * seconds(small_one) + 0.05


def test_levels_of_models_are_not_ways_through_them() -> None:
    """Each level doubles the ways; looked at one by one they would double the time."""
    one, other = (costly_files.h5(costly_files.same_tensor_twice(levels)) for levels in (8, 16))
    use(one)
    assert calls(other) <= 5 * calls(one)  # the names of what is inside grow too


def test_layers_in_both_directions_in_each_other() -> None:
    """The layer inside a Bidirectional is read twice."""

    def nested(levels: int) -> bytes:
        entry: dict[str, Any] = {"class_name": "LSTM", "config": {"name": "l", "units": 1}}
        for number in range(levels):
            entry = {"class_name": "Bidirectional", "config": {"name": f"b{number}", "layer": entry}}
        entry["config"]["batch_input_shape"] = [None, 5, 3]
        return costly_files.h5({"class_name": "Sequential", "config": {"name": "s", "layers": [entry]}})

    with pytest.raises(fastlstm.FormatError, match="are used"):
        fastlstm.load(nested(30))
    assert calls(nested(36)) < 2 * calls(nested(30))
