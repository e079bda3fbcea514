"""How near fastlstm comes to what a core can do, workload by workload; ``python -m benchmarks --roofline``.

The peaks are measured in the same run, before and after each workload, since the clock of a machine drifts. Everything is measured
in several rounds, of which the fastest counts, for workloads as for peaks: other guests of a machine slow down what reads memory.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .engine import UnavailableError
from .keras_file import SavedLayer, layers
from .machine import SETS, Peaks, peaks
from .workload import VOCABULARY, Workload
from .workloads import PAD, WORKLOADS

#: Evaluations of an activation in one step of one unit; relu and hard_sigmoid cost next to nothing.
SIGMOIDS = {"LSTM": 3, "GRU": 2, "SimpleRNN": 0}
TANHS = {"LSTM": 2, "GRU": 1, "SimpleRNN": 1}
TILE_ROWS = 6
WITHOUT_FOLDING = ("imdb_lstm64",)
ROUNDS = 6


@dataclass
class Work:
    """The work that a prediction has to do, whoever does it."""

    multiply_adds: float = 0.0
    sigmoids: float = 0.0
    tanhs: float = 0.0
    softmaxes: float = 0.0  # values that come out of one
    weights_read: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SETS, 0.0))  # bytes, by the cache that they must come from


def work(model: Path, steps: np.ndarray, folded: bool, lanes: int) -> Work:
    """Count it. ``steps`` are the valid timesteps, or the places, of each row; ``folded``: x @ W of an Embedding is looked up."""
    found = Work()
    after_embedding = False
    for layer in layers(model):
        if layer.class_name == "Dense":
            found.multiply_adds += len(steps) * layer.weights[0].size
        elif layer.class_name == "Conv2D":
            multiply_places(found, layer.weights[0], steps, lanes)
        elif layer.class_name == "MultiHeadAttention":
            attend(found, layer, steps, lanes)
        for class_name, config, weights in directions(layer):
            recur(found, class_name, config, weights, steps, folded and after_embedding, lanes)
        after_embedding = layer.class_name == "Embedding"
    return found


def recur(
    found: Work, class_name: str, config: dict[str, Any], weights: list[np.ndarray], steps: np.ndarray, looked_up: bool, lanes: int
) -> None:
    """Add a recurrent layer."""
    kernel, recurrent_kernel = weights[0].size, weights[1].size
    found.multiply_adds += steps.sum() * (recurrent_kernel + (0 if looked_up else kernel))
    found.sigmoids += steps.sum() * config["units"] * SIGMOIDS[class_name] * (config.get("recurrent_activation") == "sigmoid")
    found.tanhs += steps.sum() * config["units"] * TANHS[class_name] * (config["activation"] == "tanh")
    used = 4 * (recurrent_kernel + (0 if looked_up or len(steps) < TILE_ROWS else kernel))
    # Rows of one tile share what is read. With many rows a panel stays near while all of them pass by.
    near = used if len(steps) < TILE_ROWS else used * lanes / config["units"]
    if looked_up:
        columns = weights[0].shape[1]
        found.weights_read[held_by(4.0 * VOCABULARY * columns)] += 4.0 * columns * steps.sum()
    found.weights_read[held_by(near)] += float(used * math.ceil(len(steps) / TILE_ROWS) * steps.mean())


def multiply_places(found: Work, kernel: np.ndarray, places: np.ndarray, lanes: int, columns: int | None = None) -> None:
    """Add a kernel that every place of every row is multiplied with; so many places of a tile share what is read."""
    found.multiply_adds += float(places.sum()) * kernel.size
    panel = kernel.nbytes * lanes / (columns or kernel.shape[-1])
    found.weights_read[held_by(panel)] += float(kernel.nbytes * math.ceil(places.sum() / TILE_ROWS))


def attend(found: Work, layer: SavedLayer, steps: np.ndarray, lanes: int) -> None:
    """Add attention of all steps of a row to each other: projections, scores, their softmax, and the sums that they weigh."""
    heads, key = layer.config["num_heads"], layer.config["key_dim"]
    *projections, output = (weights for weights in layer.weights if weights.ndim == 3)
    for kernel in projections:
        multiply_places(found, kernel, steps, lanes, columns=kernel.shape[1] * kernel.shape[2])
    multiply_places(found, output, steps, lanes)
    pairs = float((steps**2).sum()) * heads
    found.multiply_adds += pairs * (key + (layer.config["value_dim"] or key))
    found.softmaxes += pairs


def countable(model: Path) -> bool:
    """Is the work of all its layers counted here?"""
    try:
        return all(map(is_counted, layers(model)))
    except UnavailableError:
        return False


def is_counted(layer: SavedLayer) -> bool:
    if layer.class_name == "Conv2D":
        return (layer.config["padding"], list(layer.config["strides"]), layer.config["groups"]) == ("same", [1, 1], 1)
    return layer.class_name in ("Dense", "Embedding", "Masking", "MultiHeadAttention") or bool(directions(layer))


def directions(layer: SavedLayer) -> list[tuple[str, dict[str, Any], list[np.ndarray]]]:
    """The recurrent layers in a layer: one, two in a Bidirectional, none in others."""
    if layer.class_name in SIGMOIDS:
        return [(layer.class_name, layer.config, layer.weights)]
    if layer.class_name == "Bidirectional":
        inner = layer.config["layer"]
        half = len(layer.weights) // 2
        return [(inner["class_name"], inner["config"], part) for part in (layer.weights[:half], layer.weights[half:])]
    return []


def held_by(size: float) -> str:
    """The smallest cache that holds so many bytes: 32 kB, 1 MB, or what is beyond."""
    return "L1" if size <= 32 << 10 else "L2" if size <= 1 << 20 else "L3"


def median_seconds(predict: Any, inputs: list[Any], seconds: float) -> float:
    following, took = itertools.cycle(inputs).__next__, []
    end = time.perf_counter() + seconds
    predict(following())
    while time.perf_counter() < end or len(took) < 5:
        x = following()
        start = time.perf_counter()
        predict(x)
        took.append(time.perf_counter() - start)
    return float(np.median(took))


def activation_seconds(name: str) -> float:
    """Seconds of one value of fastlstm's own activation, from two sizes within L2."""
    import fastlstm

    layer = {"name": name, "trainable": True, "dtype": "float32", "activation": name}
    given = {"batch_input_shape": [None, 1024], "dtype": "float32", "sparse": False, "ragged": False, "name": "x"}
    entries = [{"class_name": "InputLayer", "config": given}, {"class_name": "Activation", "config": layer}]
    described = {"class_name": "Sequential", "config": {"name": "activation", "layers": entries}}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "activation.h5"
        with h5py.File(path, "w") as file:
            file.attrs.update(keras_version="2.15.0", backend="tensorflow", model_config=json.dumps(described))
            group = file.create_group("model_weights")
            group.attrs.update(keras_version="2.15.0", backend="tensorflow", layer_names=np.array([name.encode()]))
            group.create_group(name).attrs["weight_names"] = np.zeros(0)
        predict = fastlstm.load(path).predict
    rng = np.random.default_rng(0)
    few, many = (rng.normal(size=(rows, 1024)).astype(np.float32) for rows in (2, 34))
    return (median_seconds(predict, [many], 0.1) - median_seconds(predict, [few], 0.1)) / (32 * 1024)


def valid_steps(workload: Workload, x: np.ndarray) -> np.ndarray:
    """Timesteps of each row that are computed; places of an image."""
    masked = workload.name.startswith("masked")
    return (x[:, :, 0] != PAD).sum(1) if masked else np.full(len(x), math.prod(x.shape[1:-1] or x.shape[1:]))


def measure(folder: Path, pattern: str, seconds: float) -> dict[str, Any]:
    """Every workload beside the peaks."""
    import fastlstm

    at_start = peaks(seconds)
    costs = dict.fromkeys(("sigmoid", "tanh", "softmax"), np.inf)
    cases = []
    for workload in WORKLOADS:
        path = folder / f"{workload.name}.h5"
        batches = workload.chosen(pattern)
        if not batches or not countable(path):
            continue
        for fold in (True, False) if workload.name in WITHOUT_FOLDING else (True,):
            loaded = fastlstm.load(path, **({} if fold else {"fold_limit": 0}))
            cases += [(workload, batch, fold, loaded) for batch in batches if fold or batch == 1 or batch >= 32]
    fastest: dict[int, tuple[float, float]] = {}
    for _ in range(ROUNDS):
        costs = {name: min(cost, activation_seconds(name)) for name, cost in costs.items()}
        for number, (workload, batch, _, loaded) in enumerate(cases):
            inputs = workload.inputs(batch)
            before = peaks(seconds / ROUNDS / 8)
            given = [workload.ragged(x) for x in inputs] if workload.ragged else inputs
            took = median_seconds(loaded.predict, given, seconds / ROUNDS)
            after = peaks(seconds / ROUNDS / 8)
            best, peak = fastest.get(number, (took, 0.0))
            fastest[number] = min(best, took), max(peak, before.multiply_adds, after.multiply_adds)
    entries = []
    for number, (workload, batch, fold, _) in enumerate(cases):
        took, peak = fastest[number]
        needed = [work(folder / f"{workload.name}.h5", valid_steps(workload, x), fold, at_start.lanes) for x in workload.inputs(batch)]
        entries.append(
            {
                "workload": workload.name,
                "batch": batch,
                "folded": fold,
                "seconds": took,
                "peak": peak,
                **parts(needed, at_start, peak, costs),
            }
        )
    return {"peaks": at_start._asdict(), "activations": costs, "workloads": entries}


def parts(needed: list[Work], measured: Peaks, peak: float, costs: dict[str, float]) -> dict[str, float]:
    """Seconds that each kind of work takes at the least, mean of the inputs."""
    return {
        "multiply_adds": float(np.mean([one.multiply_adds for one in needed])),
        "fma": float(np.mean([one.multiply_adds for one in needed])) / peak,
        "weights": float(np.mean([sum(one.weights_read[name] / measured.bandwidth[name] for name in SETS) for one in needed])),
        "activations": float(np.mean([activation_cost(one, costs) for one in needed])),
    }


def activation_cost(one: Work, costs: dict[str, float]) -> float:
    return one.sigmoids * costs["sigmoid"] + one.tanhs * costs["tanh"] + one.softmaxes * costs["softmax"]


def bound(entry: dict[str, Any]) -> str:
    """The part that takes most of the time, or the rest that no part explains: waiting, moving data, and the call."""
    words = {"fma": "multiply-adds", "weights": "reading weights", "activations": "activations"}
    rest = entry["seconds"] - max(entry["fma"], entry["weights"]) - entry["activations"]
    largest = max(words, key=lambda name: entry[name])
    return words[largest] if entry[largest] >= rest else "the rest: latency, moving data"


def markdown(found: dict[str, Any]) -> str:
    """The table."""
    measured = found["peaks"]
    caches = ", ".join(f"{name} {rate / 1e9:,.0f}" for name, rate in measured["bandwidth"].items())
    costs = ", ".join(f"{name} {seconds * 1e9:.2f}" for name, seconds in found["activations"].items())
    lines = [
        f"One core: {measured['multiply_adds'] / 1e9:,.0f} multiply-adds a nanosecond from registers; gigabytes read a second: {caches}; "
        f"nanoseconds an activation: {costs}.",
        "",
        "| workload | batch | fastlstm us | multiply-adds needed | of FMA peak | FMA us | weights us | activations us | bound by |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for entry in found["workloads"]:
        name = entry["workload"] + ("" if entry["folded"] else ", not folded")
        figures = " | ".join(f"{entry[part] * 1e6:,.1f}" for part in ("fma", "weights", "activations"))
        lines.append(
            f"| {name} | {entry['batch']} | {entry['seconds'] * 1e6:,.1f} | {entry['multiply_adds']:,.0f} | "
            f"{entry['fma'] / entry['seconds']:.0%} | {figures} | {bound(entry)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, for ``run.py``, and write JSON to standard output."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workloads", default="", metavar="REGEX")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each workload, all rounds together")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.folder, arguments.workloads, arguments.seconds)))


if __name__ == "__main__":
    main()
