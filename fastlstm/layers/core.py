"""Layers that every model is made of: inputs, Dense, Embedding, Masking, shapes, and those that do nothing at inference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from .. import activations
from ..errors import InputError
from ..program.arithmetic import binary, floats, mask_of, of_mask, unary
from ..program.copying import Array, reshaped, transposed
from ..program.ir import Builder, Lookup, Mask, Value
from ..program.lowering import activated, default_code, dense, has_kernel, present_only
from ..spec import WHOLE, LayerSpec, Shape
from . import quantised
from .base import Context, Layer, States, Tensor, floating, flushed, inert, nonzero

M = TypeVar("M", np.ndarray, Mask)
#: The dtype that layers compare in, by the one that they compute in, where it is not float32.
COMPARED: dict[str, Any] = {"float16": np.float16, "float64": np.float64}


def known_features(layer: Layer, shape: Shape) -> int:
    """Size of the last axis of a layer's input."""
    if len(shape) < 2 or shape[-1] is None:
        raise layer.error(f"the number of features of its input is not known (shape {shape})")
    return shape[-1]


class InputLayer(Layer):
    """Where data enters a graph."""

    CLASSES = ("InputLayer",)
    HONOURED = frozenset({"shape", "dtype"})
    INERT = frozenset({"batch_size", "sparse", "ragged", "optional", "input_tensor", "type_spec"})
    STEPWISE = True

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.only("sparse", False, None)
        self.only("ragged", False, None)
        self.declared = str(self.config.get("dtype") or "float32")
        # Does it cut fractions off? Where data are fed, only a model's own inputs do.
        self.nested = bool(context.path)
        self.cuts = self.declared in WHOLE and (not context.path or self.rules.input_cast == "called")

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        return tuple(inputs) or (tuple(self.config["shape"]),)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        if not self.cuts:
            return tuple(inputs)
        if self.declared == "bool":
            return tuple(given._replace(value=nonzero(given.value).astype(floating(given.value).dtype)) for given in inputs)
        return tuple(given if given.value.dtype.kind != "f" else given._replace(value=np.trunc(given.value)) for given in inputs)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        bools = self.declared == "bool"
        if not self.cuts or (bools and not self.nested):  # the caller's are 0 and 1 by now
            return tuple(inputs)
        cut = [given if given.integer else self._cut(b, given, bools) for given in inputs]
        return None if None in cut else tuple(value for value in cut if value is not None)

    def _cut(self, b: Builder, given: Value, bools: bool) -> Value | None:
        """A tensor of whole numbers, or of 0 and 1, as kernel calls."""
        if bools:
            return reshaped(b, of_mask(b, mask_of(b, given)), given.shape)._replace(mask=given.mask)
        size, sign = unary(b, "absolute", given), unary(b, "sign", given)
        whole = size and unary(b, "floor", size)
        cut = whole and sign and binary(b, "multiply", sign, whole)
        return cut and cut._replace(mask=given.mask)


class Inert(Layer):
    """Layers that only matter in training. Values and masks pass."""

    CLASSES = (
        "Dropout",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
        "GaussianNoise",
        "GaussianDropout",
        "AlphaDropout",
        "ActivityRegularization",
        "AddLoss",
        "AddMetric",
        "Identity",
    )
    INERT = frozenset({
        "rate", "stddev", "noise_shape", "seed", "data_format", "l1", "l2", "p", "sigma", "unconditional", "aggregation", "metric_name",
    })  # fmt: skip
    STEPWISE = True

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        return (inputs[0],)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        return (inputs[0]._replace(mask=handed_on(self, inputs[0].mask, self.row.gives_back)),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        return (inputs[0]._replace(mask=handed_on(self, inputs[0].mask, self.row.gives_back)),)


def handed_on(layer: Layer, mask: M | None, gives_back: bool) -> M | None:
    """The mask of a layer's output, which may be its very input. UnsupportedError where that has a mask and the file does not tell."""
    told = layer.rules.identity_masks
    if not gives_back or mask is None:
        return mask
    if told is None:
        raise layer.untold_mask()
    return mask if told else None


class Activation(Layer):
    """An activation as a layer."""

    CLASSES = ("Activation",)
    HONOURED = frozenset({"activation"})
    STEPWISE = True

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.activation_name, self.act = self.activation("activation")

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        shape = inputs[0]
        if shape[-1] is None:
            return (shape,)
        return ((*shape[:-1], activations.output_features(self.activation_name, shape[-1])),)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        return (Tensor(self.act(floating(inputs[0].value)), handed_on(self, inputs[0].mask, self._gives_back)),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        if not has_kernel(self.activation_name):
            return None
        out = activated(b, self.activation_name, inputs[0])
        return (out._replace(mask=handed_on(self, out.mask, self._gives_back)),)

    @property
    def _gives_back(self) -> bool:
        return bool(self.activation_name == "linear")


class Dense(Layer):
    """activation(x W + b) on the last axis, for input of any rank."""

    CLASSES = ("Dense",)
    HONOURED = frozenset({"units", "activation", "use_bias", "quantization"})
    INERT = inert("kernel", "bias")
    STEPWISE = True

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.units = int(self.config["units"])
        self.use_bias = bool(self.config.get("use_bias", True))
        self.activation_name, self.act = self.activation("activation")
        self.quantised = quantised.how(self)

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        features = known_features(self, inputs[0])
        self.arrays((features, self.units), *[(self.units,)] * (self.use_bias + bool(self.quantised)))
        if self.quantised:
            quantised.check(self, features)
        return ((*inputs[0][:-1], activations.output_features(self.activation_name, self.units)),)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        kernel, *bias = self.cast(x.dtype)
        z = quantised.computed(self, x, (-1,), np.matmul, lambda scales: scales) if self.quantised else x @ kernel
        if self.use_bias:
            z = z + bias[0]
        return (Tensor(self.act(z), inputs[0].mask),)

    def row_numbers(self, inputs: Sequence[Shape], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> int:
        return super().row_numbers(inputs, keywords, outputs) + quantised.more_numbers(self, inputs)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        if not has_kernel(self.activation_name):
            return None
        x, mask = floats(b, inputs[0]), inputs[0].mask
        if not self.quantised:
            code = default_code(self.activation_name)
            value = self._product(b, x, self.use_bias, code or 0)._replace(mask=mask)
            return (value if code is not None else activated(b, self.activation_name, value),)
        whole = quantised.lowered(b, self, x, lambda numbers: self._product(b, numbers, False, 0))
        if whole is not None and self.use_bias:
            vector = b.constant(self, "bias of whole numbers", lambda: self.cast(np.float32)[1])
            whole = binary(b, "add", whole, Array(vector, (self.units,)))
        return None if whole is None else (activated(b, self.activation_name, whole)._replace(mask=mask),)

    def _product(self, b: Builder, x: Value, use_bias: bool, activation: int) -> Value:
        """activation(x W + b), of an activation's code."""
        *outer, features = x.shape
        steps, units = math.prod(outer), self.units
        bias = (lambda: self.cast(np.float32)[1]) if use_bias else None
        out = dense(b, self, "kernel", b.read(x), (steps, features, units), lambda: self.cast(np.float32)[0], bias, activation)
        return Value(out, (*outer, units))


class Embedding(Layer):
    """Rows of a table, chosen by integer ids. Ids given as float64 give float64."""

    CLASSES = ("Embedding",)
    HONOURED = frozenset({"input_dim", "output_dim", "mask_zero"})
    INERT = inert("embeddings") | {"input_length", "dropout", "sparse"}
    STEPWISE = True

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.rows = int(self.config["input_dim"])
        self.vocabulary = self.rows
        self.features = int(self.config["output_dim"])
        self.mask_zero = bool(self.config.get("mask_zero", False))
        self.masked_value = 0.0 if self.mask_zero else None

    def ignores_padding(self, inputs: Sequence[Shape]) -> bool:
        return not self.mask_zero or len(inputs[0]) < 3  # else its mask has more axes than (batch, time)

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        self.arrays((self.rows, self.features))
        return ((*inputs[0], self.features),)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        (table,) = self.cast(floating(inputs[0].value[:0]).dtype)
        ids = inputs[0].value
        if ids.dtype.kind == "f":  # fractions are cut off, as Keras has them in its own dtype, after the mask is made
            with np.errstate(over="ignore"):
                ids = ids.astype(COMPARED.get(self.spec.dtype, np.float32))
        mask = nonzero(ids) if self.mask_zero else None
        if ids.size and not (ids.min() > -1 and ids.max() < self.rows):
            raise InputError(f"layer {self.path!r} (Embedding): expected ids from 0 to {self.rows - 1}, found {ids.min()} to {ids.max()}")
        return (Tensor(table[ids.astype(np.int64)], mask),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        value = inputs[0]
        if not value.integer:
            return None
        mask = None
        if self.mask_zero:
            steps = math.prod(value.shape)
            mask = Mask(b.buffer(steps, itemsize=1), value.shape)
            b.emit("mask_ids", steps=steps, ids=value.buffer, ids_row=steps, mask=mask.buffer)
            mask = present_only(b, mask)
        elif value.mask is not None and value.mask is b.present:
            mask = value.mask
        lookup = Lookup(value.buffer, self, self.cast(np.float32)[0])
        return (Value(value.buffer, (*value.shape, self.features), mask, lookup),)


class Masking(Layer):
    """Steps whose features all equal ``mask_value`` are marked as missing, and zeroed."""

    CLASSES = ("Masking",)
    HONOURED = frozenset({"mask_value"})
    STEPWISE = True

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        value = self.config.get("mask_value", 0.0)
        if isinstance(value, Mapping):  # a number that Keras 3 wrote as a tensor or a NumPy scalar
            value = value.get("config", value.get("value"))
            value = value.get("value") if isinstance(value, Mapping) else value
        if not isinstance(value, (int, float)):
            self.refuse(f"argument mask_value={self.config['mask_value']!r} is not a number")
            value = 0.0
        self.masked_value = self.mask_value = float(value)

    def ignores_padding(self, inputs: Sequence[Shape]) -> bool:
        return len(inputs[0]) < 4  # else its mask has more axes than (batch, time)

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        return (inputs[0],)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = floating(inputs[0].value)
        # Keras compares in the layer's own dtype: 0.1 is the float32 nearest to it, whatever x is computed in here.
        compared = COMPARED.get(self.spec.dtype, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            mask = np.any(flushed(x.astype(compared)) != flushed(np.array(self.mask_value, compared)), axis=-1)
            return (Tensor(x * mask[..., None], mask),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        *outer, features = inputs[0].shape
        steps = math.prod(outer)
        out, mask = b.buffer(steps * features), Mask(b.buffer(steps, itemsize=1), tuple(outer))
        b.emit("masking", steps=steps, features=features, x=b.read(inputs[0]), y=out, mask=mask.buffer, value=self.mask_value)
        return (Value(out, inputs[0].shape, present_only(b, mask)),)


class Flatten(Layer):
    """(batch, ...) -> (batch, features)."""

    CLASSES = ("Flatten",)
    HONOURED = frozenset({"data_format"})

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        batch, *rest = inputs[0]
        return ((batch, None if None in rest else math.prod(n for n in rest if n is not None)),)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = inputs[0].value
        if self.config.get("data_format") == "channels_first" and x.ndim > 2:
            x = np.moveaxis(x, 1, -1)
        return (Tensor(x.reshape(len(x), math.prod(x.shape[1:]))),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        x, axes = inputs[0], range(len(inputs[0].shape))
        if self.config.get("data_format") == "channels_first" and len(axes) > 1:
            moved = transposed(b, floats(b, x), [*axes[1:], 0])
            return None if moved is None else (reshaped(b, moved, (math.prod(x.shape),)),)
        return (reshaped(b, x, (math.prod(x.shape),)),)


class Reshape(Layer):
    """(batch, ...) -> (batch, *target_shape); one size of the target may be -1."""

    CLASSES = ("Reshape",)
    HONOURED = frozenset({"target_shape"})

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.target = tuple(-1 if n is None else int(n) for n in self.config["target_shape"])

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        batch, *rest = inputs[0]
        known = math.prod(n for n in self.target if n != -1)
        if None in rest:
            return ((batch, *(None if n == -1 else n for n in self.target)),)
        total = math.prod(n for n in rest if n is not None)
        free = self.target.count(-1)
        if free > 1 or (free == 1 and (known == 0 or total % known != 0)) or (free == 0 and total != known):
            raise self.error(f"target_shape {self.target} does not fit input of shape {inputs[0]}")
        return ((batch, *(total // known if n == -1 else n for n in self.target)),)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x = inputs[0].value
        (shape,) = self.shapes((x.shape,), {})
        return (Tensor(x.reshape([n for n in shape if n is not None])),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        (shape,) = self.shapes(((None, *inputs[0].shape),), {})
        return (Value(b.read(inputs[0]), tuple(n for n in shape[1:] if n is not None)),)


class RepeatVector(Layer):
    """(batch, features) -> (batch, n, features)."""

    CLASSES = ("RepeatVector",)
    HONOURED = frozenset({"n"})

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        if len(inputs[0]) != 2:
            raise self.error(f"reads (batch, features), found shape {inputs[0]}")
        return ((inputs[0][0], int(self.config["n"]), inputs[0][1]),)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        return (Tensor(np.repeat(inputs[0].value[:, None], int(self.config["n"]), axis=1)),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        times, (size,) = int(self.config["n"]), inputs[0].shape
        out = b.buffer(times * size)
        b.emit("repeat", times=times, size=size, x=b.read(inputs[0]), y=out)
        return (Value(out, (times, size)),)


class Permute(Layer):
    """Axes in another order; ``dims`` counts them from 1, the batch stays."""

    CLASSES = ("Permute",)
    HONOURED = frozenset({"dims"})

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        self.order = (0, *(int(d) for d in self.config["dims"]))

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        if sorted(self.order) != list(range(len(inputs[0]))):
            raise self.error(f"dims {self.order[1:]} do not fit input of shape {inputs[0]}")
        return (tuple(inputs[0][axis] for axis in self.order),)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        return (Tensor(np.ascontiguousarray(inputs[0].value.transpose(self.order))),)

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        value = transposed(b, floats(b, inputs[0]), [axis - 1 for axis in self.order[1:]])
        return value and (value,)
