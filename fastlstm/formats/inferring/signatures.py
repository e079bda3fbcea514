"""By class: how its arrays are told, what no array tells with Keras's default, and the axes of what it reads and gives.

Axes are counted with the batch. ``SAME`` reads any number of them and gives as many.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ...catalogue import ROWS, Role, Row, row_of
from ..reading.dialect import Dialect, version_numbers
from ..reading.keras1 import MERGE
from . import shapes
from .shapes import Fit

SAME = 0
#: Gives a number of axes that depends on arguments that no array tells.
OPEN = -1
#: Stands for an argument without a default: no layer takes it, so nobody overlooks it.
NEEDED = "?"


class Signature(NamedTuple):
    """A class as its arrays show it."""

    fit: Fit = shapes.no_arrays
    untold: Mapping[str, Any] = {}
    reads: int = SAME
    gives: int = SAME
    filled: Mapping[str, Any] = {}  # arguments that matter in training alone, which Keras wants all the same


LOOP = {"go_backwards": False, "stateful": False}
#: Of all of tf.keras and Keras 3, or of one of them.
ZERO, MAJOR = {"zero_output_for_mask": False}, {"time_major": False}
TANH, LINEAR, FORMAT = {"activation": "tanh"}, {"activation": "linear"}, {"data_format": "channels_last"}
GATES = {**TANH, "recurrent_activation": "sigmoid"}
EPSILON = {"epsilon": 1e-3, "axis": -1}


def windows(axes: int, *, dilated: bool = True, grouped: bool = False) -> dict[str, Any]:
    """What kernels of windows do not tell."""
    told: dict[str, Any] = {**LINEAR, "strides": [1] * axes, "padding": "valid"}
    if dilated:
        told["dilation_rate"] = [1] * axes
    if grouped:
        told["groups"] = 1
    return {**told, **FORMAT}


def along(axes: int) -> dict[str, Signature]:
    """The classes that exist along time, over images and in space."""
    rank, name = axes + 2, f"{axes}D"
    pool = {"pool_size": [2] * axes, "strides": None, "padding": "valid", **FORMAT}
    margins: Any = [1, 1] if axes == 1 else [[1, 1]] * axes
    placed = FORMAT if axes > 1 else {}
    found = {
        f"Conv{name}": Signature(shapes.convolution, windows(axes, grouped=True), rank, rank),
        f"Conv{name}Transpose": Signature(shapes.transposed, {**windows(axes), "output_padding": None}, rank, rank),
        f"SpatialDropout{name}": Signature(reads=rank, gives=rank, filled={"rate": 0.0}),
        f"MaxPooling{name}": Signature(untold=pool, reads=rank, gives=rank),
        f"AveragePooling{name}": Signature(untold=pool, reads=rank, gives=rank),
        f"GlobalMaxPooling{name}": Signature(untold={**FORMAT, "keepdims": False}, reads=rank, gives=2),
        f"GlobalAveragePooling{name}": Signature(untold={**FORMAT, "keepdims": False}, reads=rank, gives=2),
        f"ZeroPadding{name}": Signature(untold={"padding": margins, **placed}, reads=rank, gives=rank),
        f"Cropping{name}": Signature(untold={"cropping": margins, **placed}, reads=rank, gives=rank),
        f"UpSampling{name}": Signature(untold={"size": [2] * axes if axes > 1 else 2, **placed}, reads=rank, gives=rank),
        f"ConvLSTM{name}": Signature(
            shapes.conv_recurrent, {**windows(axes), **GATES, **LOOP}, rank + 1, rank + 1,
        ),
    }  # fmt: skip
    if axes < 3:
        found[f"SeparableConv{name}"] = Signature(shapes.separable, windows(axes), rank, rank)
        found[f"DepthwiseConv{name}"] = Signature(shapes.depthwise, windows(axes), rank, rank)
        found[f"LocallyConnected{name}"] = Signature(shapes.locally, windows(axes, dilated=False), rank, rank)
    if axes == 2:
        found[f"UpSampling{name}"] = Signature(untold={"size": [2, 2], **FORMAT, "interpolation": "nearest"}, reads=rank, gives=rank)
    return found


def idle(*names: str, **filled: Any) -> dict[str, Signature]:
    """Layers that do nothing when a model predicts."""
    return {name: Signature(filled=filled) for name in names}


#: The classes whose layers can be told.
CLASSES = {
    "InputLayer": Signature(),
    "Dense": Signature(shapes.dense, LINEAR),
    "Activation": Signature(untold={"activation": NEEDED}),
    "Embedding": Signature(shapes.embedding, {"mask_zero": False}, 2, 3),
    "Masking": Signature(untold={"mask_value": 0.0}),
    "Reshape": Signature(untold={"target_shape": NEEDED}, gives=OPEN),
    "Flatten": Signature(untold=FORMAT, gives=2),
    "Permute": Signature(untold={"dims": NEEDED}),
    "RepeatVector": Signature(untold={"n": NEEDED}, reads=2, gives=3),
    **idle("Dropout", "GaussianDropout", "AlphaDropout", rate=0.0),
    **idle("GaussianNoise", stddev=0.0),
    **idle("ActivityRegularization", "Identity"),
    "LSTM": Signature(shapes.recurrent, {**GATES, **LOOP}, 3, 3),
    "GRU": Signature(shapes.recurrent, {**GATES, **LOOP}, 3, 3),
    "SimpleRNN": Signature(shapes.recurrent, {**TANH, **LOOP}, 3, 3),
    "CuDNNLSTM": Signature(shapes.cudnn, LOOP, 3, 3),
    "CuDNNGRU": Signature(shapes.cudnn, LOOP, 3, 3),
    "LSTMCell": Signature(shapes.recurrent, GATES, 2, 2),
    "GRUCell": Signature(shapes.recurrent, GATES, 2, 2),
    "SimpleRNNCell": Signature(shapes.recurrent, TANH, 2, 2),
    "BatchNormalization": Signature(shapes.normalization, EPSILON),
    "LayerNormalization": Signature(shapes.normalization, EPSILON),
    "GroupNormalization": Signature(shapes.normalization, {**EPSILON, "groups": 32}),
    "UnitNormalization": Signature(untold={"axis": -1}),
    "RMSNormalization": Signature(shapes.root_mean_square, {"epsilon": 1e-6, "axis": -1}),
    "Rescaling": Signature(untold={"scale": NEEDED, "offset": 0.0}),
    "Normalization": Signature(shapes.statistics, {"axis": -1, "invert": False}),
    "LeakyReLU": Signature(untold={"alpha": 0.3}),
    "ReLU": Signature(untold={"max_value": None, "negative_slope": 0.0, "threshold": 0.0}),
    "ELU": Signature(untold={"alpha": 1.0}),
    "ThresholdedReLU": Signature(untold={"theta": 1.0}),
    "Softmax": Signature(untold={"axis": -1}),
    "PReLU": Signature(shapes.slopes),
    "Lambda": Signature(gives=OPEN),
    **{name: signature for axes in (1, 2, 3) for name, signature in along(axes).items()},
}

#: Classes that arrays alone may tell, where the layer's name does not: an early one is preferred.
BY_ARRAYS = tuple(
    name for name, signature in CLASSES.items()
    if signature.fit is not shapes.no_arrays and ROWS[name].role is not Role.CELL
)  # fmt: skip
#: The modules of classes that read several tensors: no chain holds them.
BRANCHING = frozenset({"merging", "concatenate", "attention", "heads"})


def branches(row: Row) -> bool:
    """Whether a class reads several tensors."""
    return row.module in BRANCHING or row.name == MERGE


def fit_of(kind: str, understood: Dialect) -> Fit:
    """How the arrays of a class are told in the files of a generation."""
    fit = CLASSES[kind].fit
    return shapes.early_convolution if fit is shapes.convolution and understood.keras1 else fit


def untold(kind: str, understood: Dialect) -> dict[str, Any]:
    """What no array of a class tells, with the default of a generation."""
    row, found = row_of(kind), dict(CLASSES[kind].untold)
    if "recurrent_activation" in found:
        found["recurrent_activation"] = understood.recurrent_activation
    if row.role is Role.RECURRENT and row.axes:
        found["recurrent_activation"] = "sigmoid" if understood.keras3 else "hard_sigmoid"
    numbers = version_numbers(understood.generation.version)
    tensorflow = understood.generation.library == "tf.keras"
    if row.role is Role.RECURRENT and not row.axes and not row.becomes and (understood.keras3 or (tensorflow and numbers >= (2, 3))):
        found.update(ZERO if understood.keras3 else {**ZERO, **MAJOR})
    if understood.keras3 and "alpha" in found and row.renamed:
        found[row.renamed["alpha"]] = found.pop("alpha")
    if understood.keras0 and row.role is Role.NORMALIZATION:
        found["epsilon"] = 1e-6
    absent = {
        "groups": row.role is Role.CONVOLUTION and not (understood.keras3 or (tensorflow and numbers >= (2, 3))),
        "keepdims": not (understood.keras3 or (tensorflow and numbers >= (2, 6))),
        "interpolation": not understood.keras3 and numbers < (2, 2, 3),
        "data_format": not understood.keras3 and row.axes == 1 and numbers < (2, 2, 3),
    }
    return {key: value for key, value in found.items() if not absent.get(key)}
