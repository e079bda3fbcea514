"""A user's model in every engine that can run it: first the numbers are compared, then the time is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import watching
from ..api import load
from ..errors import InputError
from ..model import Model
from ..selftest import difference, example_inputs, fitting_steps, largest
from ..spec import FLOAT32
from . import engines
from .engines import Engine, FastLSTM, InPrecision, Keras, UnavailableError
from .measuring import Timing, in_turns

ENGINES = ("keras", "onnxruntime")
#: Outputs whose largest number is less are taken for so large.
LEAST = 1e-6
#: So many different inputs are rotated through.
INPUTS = 4
ROWS = (1, 32)


@dataclass(frozen=True)
class Measurement:
    """An engine on some rows."""

    engine: str  # "ONNX Runtime 1.32.0"
    rows: int
    difference: float  # largest one from fastlstm's numbers
    timing: Timing


@dataclass(frozen=True)
class Refusal:
    """An engine that was not timed."""

    engine: str
    reason: str


@dataclass
class Bench:
    """What came out."""

    model: str
    generation: str
    threads: int
    shapes: dict[str, list[int | None]]  # of the inputs, by name; None: the rows
    measurements: list[Measurement] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def by_rows(self) -> dict[int, list[Measurement]]:
        """The measurements, by the number of rows."""
        found: dict[int, list[Measurement]] = {}
        for one in self.measurements:
            found.setdefault(one.rows, []).append(one)
        return found


def compare(
    path: str, *, vs: Sequence[str] | None = None, rows: Sequence[int] | None = None, timesteps: int | None = None, threads: int = 1,
    onnx: str | None = None, precision: str | None = None, reading: dict[str, Any] | None = None,
) -> Bench:  # fmt: skip
    """Measure a model.

    Parameters
    ----------
    path
        Its file.
    vs
        The other engines, of ENGINES; None: those that are installed.
    rows
        How many at a time; None: 1 and 32, or what the file fixes.
    timesteps
        Where the model leaves their number open; None: as many as suit it.
    threads
        Of each engine.
    onnx
        The model as an .onnx file, for ONNX Runtime.
    precision
        What fastlstm computes it in too, beside float32; None: what the file says.
    reading
        Arguments of :func:`fastlstm.load`.

    Raises
    ------
    InputError
        If ``rows`` or ``timesteps`` do not fit the model. Else as :func:`fastlstm.load`.
    """
    model = load(path, threads=threads, precision=precision, **(reading or {}))
    reduced: list[Engine] = []
    if model.precision_used != FLOAT32:  # everybody's numbers are compared with those of float32
        reduced = [InPrecision(model, model.precision_used)]
        model = load(path, threads=threads, precision=FLOAT32, **(reading or {}))
    wanted = ENGINES if vs is None else vs
    steps = _steps(model, timesteps)
    numbers = _rows(model, rows)
    shapes = {
        info.name: [None, *(steps if size is None else size for size in info.shape[1:])] for info in model.inputs
    }  # fmt: skip
    bench = Bench(path, str(model.generation), threads, shapes)
    if precision not in (None, FLOAT32) and not reduced:
        why = model.executor.precision.why
        bench.refusals.append(Refusal("fastlstm", f"computed in {FLOAT32}{f': {why}' if why else ''}"))
    others = [*reduced, *_others(bench, model, path, wanted, onnx, reading or {})]
    for count in numbers:
        _measure(bench, [FastLSTM(model), *others], model, count, steps)
    return bench


def _steps(model: Model, timesteps: int | None) -> int | None:
    """The size of what the model leaves open."""
    is_open = any(size is None for info in model.inputs for size in info.shape[1:])
    if not is_open:
        if timesteps is not None:
            shapes = ", ".join(f"{info.name} {info.shape[1:]}" for info in model.inputs)
            raise InputError(f"timesteps: expected none, as the file fixes the sizes of its inputs ({shapes}), found {timesteps}")
        return None
    return fitting_steps(model, timesteps)


def _rows(model: Model, rows: Sequence[int] | None) -> Sequence[int]:
    """How many rows at a time."""
    fixed, together = model.inputs[0].shape[0], model.executor.network.rows_together()
    if rows is None:
        return (fixed,) if fixed is not None else tuple(dict.fromkeys(-(-count // together) * together for count in ROWS))
    for count in rows:
        if fixed is not None and count != fixed:
            raise InputError(f"rows: expected {fixed}, as the file fixes the batch, found {count}")
        if count % together:
            raise InputError(f"rows: expected a number that {together} divides, as the model holds tensors of so many rows, found {count}")
    return tuple(dict.fromkeys(rows))


def _others(bench: Bench, model: Model, path: str, wanted: Sequence[str], onnx: str | None, reading: dict[str, Any]) -> list[Engine]:
    """The other engines; what cannot be had is noted, with what would help."""
    found: list[Engine] = []
    keras: Keras | None = None
    reason = _alone(reading)
    if reason:
        bench.refusals += [Refusal(name, reason) for name in wanted]
        return found
    if "keras" in wanted or ("onnxruntime" in wanted and onnx is None and engines.installed("onnxruntime")):
        watching.tell("loading Keras", 0, 0)
        try:
            keras = Keras(model, path, bench.threads)
            found += keras.engines() if "keras" in wanted else []
        except UnavailableError as error:
            bench.refusals.append(Refusal("Keras", str(error)))
    if "onnxruntime" in wanted:
        watching.tell("making a model for ONNX Runtime", 0, 0)
        given = [
            (info.name, [info.shape[0], *shape[1:]], info.dtype) for info, shape in zip(model.inputs, bench.shapes.values(), strict=True)
        ]
        try:
            found.append(engines.onnx_engine(model, onnx, keras, given, bench.threads))
            bench.notes += [f"{engine.label}: {engine.note}" for engine in found if engine.note]
        except UnavailableError as error:
            bench.refusals.append(Refusal("ONNX Runtime", str(error)))
    return found


def _alone(reading: dict[str, Any]) -> str:
    """Why no other engine can run what was asked for; "" if they can."""
    if reading.get("inputs") is not None or reading.get("outputs") is not None:
        return "runs whole models alone; leave out --inputs and --outputs to compare"
    if reading.get("isolated"):
        return "would read the file in this process, which --isolated is to prevent"
    return ""


def _measure(bench: Bench, everybody: Sequence[Engine], model: Model, rows: int, steps: int | None) -> None:
    """Compare the engines' numbers, and time those that are right."""
    inputs = example_inputs(model, rows, steps, INPUTS)
    expected: list[np.ndarray] = []
    right: list[tuple[Engine, float]] = []
    for engine in everybody:
        label = f"{engine.label} {engine.version}".strip()
        watching.tell(f"comparing the numbers of {label}", 0, 0)
        engine.reset()
        try:
            found = engine.outputs(inputs[0])
        except Exception as error:  # engines fail in their own ways
            if engine is everybody[0]:
                raise
            bench.refusals.append(Refusal(label, f"{rows} rows: {engines.short(error)}"))
            continue
        expected = expected or found
        wrong = _wrong(found, expected, engine.tolerance)
        if wrong:
            bench.refusals.append(Refusal(label, f"{rows} rows: not timed, {wrong} (the file was saved by {bench.generation})"))
        else:
            right.append((engine, max(difference(y, other) for y, other in zip(found, expected, strict=True))))
    count = f"{rows} row{'s' if rows > 1 else ''}"
    timings = in_turns([engine.predict for engine, _ in right], inputs, lambda done, of: watching.tell(f"timing {count}", done, of))
    for (engine, gap), timing in zip(right, timings, strict=True):
        bench.measurements.append(Measurement(f"{engine.label} {engine.version}".strip(), rows, gap, timing))


def _wrong(found: Sequence[np.ndarray], expected: Sequence[np.ndarray], tolerance: float) -> str:
    """What is wrong with an engine's outputs; "" if nothing is."""
    if [y.shape for y in found] != [y.shape for y in expected]:
        return f"its outputs have the shapes {[y.shape for y in found]}, not {[y.shape for y in expected]}"
    gaps = [difference(y, other) / max(largest(other), LEAST) for y, other in zip(found, expected, strict=True)]
    worst = max(range(len(gaps)), key=gaps.__getitem__)
    return f"its numbers are others: output {worst} differs by {gaps[worst]:.1e} of its largest number" if gaps[worst] > tolerance else ""
