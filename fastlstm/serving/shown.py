"""What the page is told of a model: what to draw a form of, what answers mean, its layers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..inputs import TensorInfo
from ..pipeline import Pipeline
from ..preprocessing.scaling import unscaled
from ..spec import STRING, ModelSpec, Scaler
from ..surroundings import after, before
from .models.served import PROBABILITIES, Served, network_of

#: Axes of sequences of features.
SEQUENCES = 3
#: Of more layers there is no table.
MOST_LAYERS = 2000
#: How far a scaled number usually goes: of what is centred, and of what is not.
CENTRED, FROM_ZERO = (-2.0, 2.0), (0.0, 1.5)


def described(served: Served) -> dict[str, Any]:
    """One version of a model, as JSON can hold it."""
    model, pipeline = network_of(served.model), served.model if isinstance(served.model, Pipeline) else None
    spec = None if pipeline is None else pipeline.spec
    return {
        "name": served.name, "version": served.version, "title": model.name, "generation": str(model.generation),
        "parameters": model.count_params(),
        "before": [] if spec is None else list(before(spec, served.inputs[0].dtype == STRING)),
        "after": [] if spec is None else list(after(spec)),
        "inputs": [
            {
                **tensor(info), "kind": kind(info), "range": None if spec is None else usual(spec.scaler),
                "steps": steps(info, None if spec is None else spec.window),
            }
            for info in served.inputs
        ],
        "outputs": [{**tensor(info), **meaning(served, number)} for number, info in enumerate(served.outputs)],
        "continues": continues(served),
        "layers": [
            {
                "name": layer.name, "class": layer.class_name, "shape": layer.output_shape, "parameters": layer.parameters,
                "runs": layer.runs,
            }
            for layer in model.layers[:MOST_LAYERS]
        ],
    }  # fmt: skip


def tensor(info: TensorInfo) -> dict[str, Any]:
    """An input or output."""
    return {"name": info.name, "shape": info.shape, "dtype": info.dtype, "vocabulary": info.vocabulary}


def kind(info: TensorInfo) -> str:
    """What a form asks for: "texts", "ids", "sequence" (curves can be drawn) or "numbers"."""
    if info.dtype == STRING:
        return "texts"
    if info.vocabulary is not None or info.dtype.startswith(("int", "uint")):
        return "ids"
    return "sequence" if len(info.shape) == SEQUENCES and info.shape[-1] is not None else "numbers"


def steps(info: TensorInfo, window: int | None) -> int | None:
    """How many timesteps a sequence has: None for any number."""
    return window or (info.shape[1] if len(info.shape) > 1 else None)


def usual(scaler: Scaler | None) -> tuple[float, float] | None:
    """Between what the raw numbers of a pipeline usually lie, as far as its scaler tells: None, if it does not."""
    if scaler is None:
        return None
    centred = any(step.op == "subtract" for step in scaler.steps)
    columns = max(scaler.columns, 1)
    ends = unscaled(scaler, np.array([[end] * columns for end in (CENTRED if centred else FROM_ZERO)]))
    low, high = float(ends.min()), float(ends.max())
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low < high else None


def meaning(served: Served, number: int) -> dict[str, Any]:
    """What the values of an output are: of which classes, or what activation made them."""
    if isinstance(served.model, Pipeline) and served.model.labels:
        probable = served.outputs[number].name == PROBABILITIES
        return {"labels": [str(label) for label in served.model.labels] if probable else None, "activation": None}
    return {"labels": None, "activation": activation(network_of(served.model).spec, number)}


def activation(spec: ModelSpec, number: int) -> str | None:
    """The activation that makes an output, where it has a name."""
    if number >= len(spec.outputs):
        return None
    layer = spec.layers[spec.calls[spec.outputs[number].call].layer]
    while True:
        if layer.model is not None:
            return activation(layer.model, spec.outputs[number].output)
        if len(layer.children) != 1:
            found = layer.config.get("activation", layer.class_name.lower())  # some activations are layers, which are called so
            return found if isinstance(found, str) else None
        layer = layer.children[0]


def continues(served: Served) -> bool:
    """Are the answers of a pipeline more of what goes in: values of one series, in its own units?"""
    if not isinstance(served.model, Pipeline):
        return False
    spec, info, outputs = served.model.spec, served.inputs[0], served.outputs
    one = len(info.shape) < SEQUENCES or info.shape[-1] == 1
    flat = len(outputs) == 1 and len(outputs[0].shape) == SEQUENCES - 1
    return spec.inverse is not None and spec.inverse == spec.scaler and one and flat
