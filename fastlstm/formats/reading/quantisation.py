"""What Keras 3's ``quantize`` has left in a file: policies named "int8_from_float32", and whole numbers with their scales.

An Embedding's numbers over their scales are the very ones that Keras computes with, so it becomes an Embedding as any other. Dense layers
make whole numbers of their inputs too, at each call: that is for the layers to do (see ``layers/quantised.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...catalogue import Role
from ...errors import FormatError, Problem
from .draft import LayerDraft
from .values import short

#: How a layer may be quantised: its inputs as well, or its weights alone.
INT8, WEIGHTS_ALONE = "int8", "int8_weights"
QUANTISED = (INT8, WEIGHTS_ALONE)
#: ... or in a way that is not computed, or one that Keras itself passes over.
UNKNOWN, UNSCALED = "some other way", "unscaled"
#: The only quantizer of inputs: the largest of them becomes 127.
QUANTIZER = "AbsMaxQuantizer"
SETTINGS = {"value_range": [-127, 127], "epsilon": 1e-7, "output_dtype": "int8"}
PASSED_OVER = (
    "is quantised, in TimeDistributed: Keras does not scale its weights there, so this gives what Keras gives, far from what the model "
    "gave before quantize()"
)
ADVICE = "save the model before quantize()"


def policy(dtype: Any) -> tuple[str, Any]:
    """How a dtype policy has quantised a layer ("int8", ...; nothing where it has not), and the policy that it was made from."""
    settings = dtype.get("config") if isinstance(dtype, Mapping) else None
    if isinstance(settings, Mapping) and "mode" in settings:
        return str(settings["mode"]), settings.get("source_name")
    name = settings.get("name") if isinstance(settings, Mapping) else dtype
    if isinstance(name, str) and "_from_" in name:
        mode, _, source = name.partition("_from_")
        return mode, source
    return "", dtype


def settle_quantisation(draft: LayerDraft, mode: str, config: Mapping[str, Any], problems: list[Problem]) -> None:
    """Note how a layer is quantised, or the problem if that is not computed."""
    what = obstacle(draft, mode, config.get("quantization_config"))
    if what:
        draft.quantised = UNKNOWN
        problems.append(Problem(draft.path, draft.class_name, what, ADVICE))
    else:
        draft.quantised = INT8 if quantizer(config.get("quantization_config")) else WEIGHTS_ALONE


def obstacle(draft: LayerDraft, mode: str, config: Any) -> str:
    """Why a quantised layer is not computed."""
    if mode != INT8 or not draft.row.quantised:
        return f"it is quantised ({mode}), which is not computed"
    if draft.dtype not in ("float32", "float64"):
        return f"it is quantised (int8) and computes in {draft.dtype}, whose rounding decides the whole numbers"
    settings = quantizer(config)
    if settings and any(settings.get(key, value) != value for key, value in SETTINGS.items()):
        return f"it is quantised (int8) with a quantizer of its own for inputs, {short(settings)}"
    return ""


def quantizer(config: Any) -> Mapping[str, Any]:
    """The settings of the quantizer of inputs; of none, nothing. Files before 3.13 do not name it."""
    outer = config.get("config") if isinstance(config, Mapping) else None
    if not isinstance(outer, Mapping):
        return SETTINGS
    found = outer.get("activation_quantizer")
    if found is None:
        return {}
    settings = found.get("config") if isinstance(found, Mapping) and found.get("class_name") == QUANTIZER else None
    return settings if isinstance(settings, Mapping) and settings else {"value_range": short(found)}


def untold(arrays: Sequence[np.ndarray]) -> str:
    """What arrays tell that are not the ones of a layer's config."""
    if any(array.dtype == np.int8 for array in arrays):
        return (
            "; it was quantised, which the file does not say of it, so that Keras cannot load it either: save the model before quantize()"
        )
    return ""


def settle_arrays(layer: LayerDraft, dtype: np.dtype[Any], source: str) -> Problem | None:
    """Make layers plain that need not be quantised ones: an Embedding, and what TimeDistributed calls past its quantisation.

    Returns the problem of one that is not computed.
    """
    for child in layer.children if layer.row.role is Role.DISTRIBUTED else ():
        if child.quantised in QUANTISED:
            child.quantised = UNSCALED
    if layer.quantised not in (*QUANTISED, UNSCALED):
        return None
    if layer.row.role is not Role.EMBEDDING and len(layer.weights) > kept(layer):
        return Problem(layer.path, layer.class_name, "it is quantised (int8), and enable_lora adds to it", "save the model as .keras")
    if layer.quantised == UNSCALED or layer.row.role is Role.EMBEDDING:
        whole = len(layer.weights) >= kept(layer)  # else the file has no arrays at all, which is a problem of its own
        del layer.config["quantization"]
        if whole and layer.quantised == UNSCALED:
            unscaled(layer, dtype)
        elif whole:
            plain_table(layer, dtype, source)
    return None


def kept(layer: LayerDraft) -> int:
    """How many arrays a layer keeps by its config."""
    tell = layer.row.arrays
    return 0 if tell is None else len(tell(layer.config))


def unscaled(layer: LayerDraft, dtype: np.dtype[Any]) -> None:
    """Make a layer the one that Keras computes in TimeDistributed: its whole numbers are weights there, and their scale is not used."""
    kernel, *others = layer.weights
    place = kept(layer) - 1
    layer.weights = (kernel.astype(dtype), *others[:place], *others[place + 1 :])


def plain_table(layer: LayerDraft, dtype: np.dtype[Any], source: str) -> None:
    """Make a quantised Embedding a plain one."""
    table, scale, *others = layer.weights
    if table.ndim != 2 or scale.shape != table.shape[:1]:
        shapes = f"a table {table.shape} and its scale {scale.shape}"
        raise FormatError(f"{source}: layer {layer.path!r} ({layer.class_name}): {shapes} do not fit each other")
    with np.errstate(all="ignore"):
        layer.weights = (table.astype(dtype) / scale.astype(dtype)[:, None], *others)
