"""Self-tests: cases recorded when a model is converted, rerun to show that this machine computes the same; and live Keras."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .layers.network import Network
from .model import Model
from .plan import evaluate
from .spec import Case, Ref

#: Equal to the recorded truth means within ABSOLUTE + RELATIVE * max|y|, or within SLACK times what NumPy in the model's
#: own precision is off by, whichever is wider: a network that amplifies rounding does so for Keras too.
ABSOLUTE, RELATIVE, SLACK = 2e-6, 1e-5, 4.0
#: Rows of a recorded batch, and timesteps where the model leaves them open.
ROWS, STEPS, LONG = 5, 7, 50


@dataclass(frozen=True)
class Comparison:
    """How one case came out."""

    case: str
    difference: float  # largest absolute one; inf where NaN stands against a number
    tolerance: float

    @property
    def equal(self) -> bool:
        """Is the difference within the case's tolerance?"""
        return self.difference <= self.tolerance


def record(model: Model) -> tuple[Case, ...]:
    """Cases for a model: plain, one timestep, long, and masked in every way that its masks allow.

    The outputs are those of every layer's ``apply`` in float64.
    """
    network = model._network
    cases = []
    for name, batches in _situations(model):
        wide: dict[str, Any] = _zero_states(model, len(batches[0][0]), np.float64)
        narrow: dict[str, Any] = _zero_states(model, len(batches[0][0]), np.float32)
        outputs, off, size = [], 0.0, 0.0
        for batch in batches:
            with np.errstate(all="ignore"):
                truth = evaluate(network, batch, np.float64, wide)
                rough = evaluate(network, batch, np.float32, narrow)
            outputs.append(tuple(y.astype(model.outputs[0].dtype) for y in truth))
            off = max(off, *(difference(a, b) for a, b in zip(truth, rough, strict=True)))
            size = max(size, *(_largest(y) for y in truth))
        tolerance = max(ABSOLUTE + RELATIVE * size, SLACK * off if np.isfinite(off) else 0.0)
        cases.append(Case(name, tuple(map(tuple, batches)), tuple(outputs), float(tolerance)))
    return tuple(cases)


def check(model: Model, cases: Sequence[Case]) -> tuple[Comparison, ...]:
    """Rerun recorded cases. States of a stateful model are reset before and after."""
    results = []
    for case in cases:
        model.reset_states()
        worst = 0.0
        for inputs, expected in zip(case.inputs, case.outputs, strict=True):
            found = flat(model.predict(list(inputs)))
            worst = max(worst, *(difference(y, e) for y, e in zip(found, expected, strict=True)))
        results.append(Comparison(case.name, worst, case.tolerance))
    model.reset_states()
    return tuple(results)


def own_keras(model: Model) -> Any | None:
    """An importable Keras of the generation that saved the file, or None.

    Keras 3 files: Keras 3. Files of tf.keras 2.4 and later: tf_keras, which continues it unchanged. Older generations
    do not run on any Python that fastlstm does.
    """
    major = model.generation.version.split(".")[0]
    version = tuple(int(part) for part in model.generation.version.split("-")[0].split(".")[:2] if part.isdigit())
    wanted = "keras" if major == "3" else "tf_keras" if (2, 4) <= version < (3,) else None
    if wanted is None or importlib.util.find_spec(wanted) is None:
        return None
    keras = importlib.import_module(wanted)
    return keras if keras.__version__.split(".")[0] == major else None


def check_with_keras(model: Model, path: str, cases: Sequence[Case], keras: Any) -> tuple[Comparison, ...]:
    """Compare with a live Keras that loads the very file. Stateful models compare the first call of each case."""
    theirs = keras.models.load_model(path, compile=False)
    results = []
    for case in cases:
        model.reset_states()
        inputs = list(case.inputs[0])
        if model._stateful:
            for layer in theirs.layers:
                for reset in ("reset_states", "reset_state"):
                    if getattr(layer, "stateful", False) and hasattr(layer, reset):
                        getattr(layer, reset)()
                        break
        expected = flat(theirs.predict(inputs if len(inputs) > 1 else inputs[0], batch_size=len(inputs[0]), verbose=0))
        found = flat(model.predict(inputs))
        worst = max(difference(y, np.asarray(e)) for y, e in zip(found, expected, strict=True))
        results.append(Comparison(case.name, worst, case.tolerance))
    model.reset_states()
    return tuple(results)


def flat(y: Any) -> list[np.ndarray]:
    """What ``predict`` returned, as a list of arrays."""
    if isinstance(y, dict):
        return [array for key in sorted(y) for array in flat(y[key])]
    if isinstance(y, (list, tuple)):
        return [array for part in y for array in flat(part)]
    return [y]


def difference(y: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference; NaN equals NaN and an infinity itself, and either against anything else is inf."""
    with np.errstate(invalid="ignore"):
        gap = np.abs(np.asarray(y, np.float64) - np.asarray(expected, np.float64))
    same = (y == expected) | (np.isnan(y) & np.isnan(expected))
    gap = np.where(same, 0.0, np.where(np.isnan(gap), np.inf, gap))
    return float(gap.max(initial=0.0))


def _largest(y: np.ndarray) -> float:
    finite = np.abs(y[np.isfinite(y)])
    return float(finite.max(initial=0.0))


def _zero_states(model: Model, rows: int, dtype: Any) -> dict[str, tuple[np.ndarray, ...]]:
    return {path: tuple(np.zeros((rows, *shape), dtype) for shape in shapes) for path, shapes in model._stateful.items()}


def _situations(model: Model) -> Iterator[tuple[str, list[list[np.ndarray]]]]:
    """Names and inputs, call by call."""
    random = np.random.default_rng(0)
    masked = [mask_value(model._network, ref) for ref in model.spec.inputs]

    def batch(rows: int, steps: int) -> list[np.ndarray]:
        rows = model.inputs[0].shape[0] or rows
        found = []
        for info in model._infos:
            shape = (rows, *(steps if size is None else size for size in info.shape[1:]))
            if info.vocabulary is not None:
                low = 1 if info.vocabulary > 1 else 0  # 0 is what mask_zero masks
                found.append(random.integers(low, info.vocabulary, shape, dtype=np.int32))
            else:
                found.append(random.standard_normal(shape).astype(np.float32))
        return found

    yield "plain", [batch(ROWS, STEPS)]
    yield "one row", [batch(1, STEPS)]
    if any(None in info.shape[1:] for info in model.inputs):
        yield "one timestep", [batch(ROWS, 1)]
        yield "long", [batch(ROWS, LONG)]
    if model._stateful:
        yield "chained calls", [batch(ROWS, STEPS) for _ in range(3)]
    if any(value is not None for value in masked):
        for name in ("masked before", "masked behind", "masked in between", "masked wholly"):
            inputs = batch(ROWS, STEPS)
            for x, value in zip(inputs, masked, strict=True):
                if value is not None:
                    _mask_steps(x, value, name)
            yield name, [inputs]


def _mask_steps(x: np.ndarray, value: float, name: str) -> None:
    """Give each row but the first masked steps of its own number."""
    steps = x.shape[1]
    for row in range(min(1, len(x) - 1), len(x)):
        count = min(steps - 1, 1 + row)
        where = {
            "masked before": slice(None, count), "masked behind": slice(steps - count, None),
            "masked in between": slice(1, steps, 2), "masked wholly": slice(None),
        }[name]  # fmt: skip
        x[row, where] = value


def mask_value(network: Network, ref: Ref) -> float | None:
    """The value of an input that some layer right behind it takes as masked."""
    for layer in network.consumers(ref):
        if layer.spec.class_name == "Masking":
            return float(layer.config.get("mask_value", 0.0))
        if layer.spec.class_name == "Embedding" and layer.config.get("mask_zero"):
            return 0.0
    return None
