"""How near fastlstm comes to what a core can do, workload by workload; ``python -m benchmarks --roofline``.

The peaks are measured in the same run, before and after each workload, since the clock of a machine drifts. Everything is measured
in several rounds, of which the fastest counts, for workloads as for peaks: other guests of a machine slow down what reads memory.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

from .keras_file import SavedLayer, layers
from .machine import SETS, Peaks, peaks
from .workloads import PAD, VOCABULARY, WORKLOADS, Workload

#: Evaluations of an activation in one step of one unit; relu and hard_sigmoid cost next to nothing.
SIGMOIDS = {"LSTM": 3, "GRU": 2, "SimpleRNN": 0}
TANHS = {"LSTM": 2, "GRU": 1, "SimpleRNN": 1}
TILE_ROWS = 6
WITHOUT_FOLDING = ("imdb_lstm64",)
ROUNDS = 6


class Work(NamedTuple):
    """The work that a prediction has to do, whoever does it."""

    multiply_adds: float
    sigmoids: float
    tanhs: float
    weights_read: dict[str, float]  # bytes, by the cache that they must come from


def work(model: Path, steps: np.ndarray, folded: bool, lanes: int) -> Work:
    """Count it. ``steps`` are the valid timesteps of each row; ``folded``: x @ W of an Embedding is looked up, not computed."""
    multiply_adds = sigmoids = tanhs = 0.0
    read = dict.fromkeys(SETS, 0.0)
    after_embedding = False
    for layer in layers(model):
        if layer.class_name == "Dense":
            multiply_adds += len(steps) * layer.weights[0].size
        for class_name, config, weights in directions(layer):
            kernel, recurrent_kernel = weights[0].size, weights[1].size
            looked_up = folded and after_embedding
            multiply_adds += steps.sum() * (recurrent_kernel + (0 if looked_up else kernel))
            sigmoids += steps.sum() * config["units"] * SIGMOIDS[class_name] * (config.get("recurrent_activation") == "sigmoid")
            tanhs += steps.sum() * config["units"] * TANHS[class_name] * (config["activation"] == "tanh")
            used = 4 * (recurrent_kernel + (0 if looked_up or len(steps) < TILE_ROWS else kernel))
            # Rows of one tile share what is read. With many rows a panel stays near while all of them pass by.
            near = used if len(steps) < TILE_ROWS else used * lanes / config["units"]
            if looked_up:
                columns = weights[0].shape[1]
                read[held_by(4.0 * VOCABULARY * columns)] += 4.0 * columns * steps.sum()
            read[held_by(near)] += float(used * math.ceil(len(steps) / TILE_ROWS) * steps.mean())
        after_embedding = layer.class_name == "Embedding"
    return Work(float(multiply_adds), float(sigmoids), float(tanhs), read)


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
    masked = workload.name.startswith("masked")
    return (x[:, :, 0] != PAD).sum(1) if masked else np.full(len(x), x.shape[1])


def measure(folder: Path, pattern: Any, seconds: float) -> dict[str, Any]:
    """Every workload beside the peaks."""
    import fastlstm

    at_start = peaks(seconds)
    costs = dict.fromkeys(("sigmoid", "tanh"), np.inf)
    cases = []
    for workload in WORKLOADS:
        path = folder / f"{workload.name}.h5"
        batches = [batch for batch in workload.batches if workload.chain and pattern.search(f"{workload.name}/{batch}")]
        for fold in (True, False) if batches and workload.name in WITHOUT_FOLDING else (True,):
            loaded = fastlstm.load(path, **({} if fold else {"fold_limit": 0})) if batches else None
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
        "activations": float(np.mean([one.sigmoids * costs["sigmoid"] + one.tanhs * costs["tanh"] for one in needed])),
    }


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
    print(json.dumps(measure(arguments.folder, re.compile(arguments.workloads), arguments.seconds)))


if __name__ == "__main__":
    main()
