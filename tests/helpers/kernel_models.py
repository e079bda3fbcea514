"""Small models of odd sizes which together use every kernel, and input for any model. As a script it runs each of them once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from layer_specs import normal, recurrent

from fastlstm import Model, runtime
from fastlstm.planner import Constants, ProgramBuilder
from fastlstm.program.arithmetic import floats, mask_of, of_mask
from fastlstm.program.ir import Program
from fastlstm.spec import Call, Generation, LayerSpec, ModelSpec, Ref, Rules

FEATURES, VOCABULARY = 3, 11
#: One below, at and above what the vectors of some CPU level hold, so that last blocks of every width come about.
UNITS = (1, 3, 7, 18, 33)


def simple(class_name: str, name: str = "layer", /, *weights: tuple[int, ...], **config: Any) -> LayerSpec:
    """A layer with weights of those shapes."""
    return LayerSpec(class_name, name, config, tuple(normal(*shape).astype(np.float32) * 0.3 for shape in weights))


def dense(units: int, features: int = FEATURES, **config: Any) -> LayerSpec:
    return simple("Dense", "dense", (features, units), (units,), units=units, **config)


def graph(
    layers: Sequence[LayerSpec], calls: Sequence[tuple[int, ...]], shape: tuple[int | None, ...], dtype: str = "float32"
) -> ModelSpec:
    """A model of one input: ``calls`` are, by layer, the calls that each reads (0 is the input)."""
    entry = LayerSpec("InputLayer", "x", {"shape": list(shape), "dtype": "float32"})
    made = (Call(0), *(Call(number, tuple(map(Ref, given))) for number, given in enumerate(calls, 1)))
    ends = (Ref(0),), (Ref(len(calls)),), ("x",), ("y",)
    return ModelSpec("m", "Functional", (entry, *layers), made, *ends, Generation("Keras", "", "", ""))


def chain(*layers: LayerSpec, shape: tuple[int | None, ...] = (None, None, FEATURES)) -> ModelSpec:
    return graph(layers, [(number,) for number in range(len(layers))], shape)


def operation(name: str, **arguments: Any) -> LayerSpec:
    """An operation of a graph, of its inputs ``X``, ``Y`` and ``Z``."""
    return LayerSpec("Operation", name, {"operation": name, "arguments": arguments})


X, Y, Z = ({"input": number} for number in range(3))


def operations(units: int) -> Iterator[tuple[str, ModelSpec]]:
    """(what, model) of operations on tensors."""
    layers = [
        dense(units), operation("softmax", x=X, axis=1), operation("cumsum", x=X, axis=1), operation("sum", x=X, axis=1, keepdims=True),
        operation("less", x1=X, x2=Y), operation("where", condition=X, x1=Y, x2=0.5), operation("log", x=X),
    ]  # fmt: skip
    yield "operations", graph(layers, [(0,), (1,), (2,), (3,), (1, 4), (5, 2), (6,)], (None, None, FEATURES))
    layers = [dense(units), operation("transpose", x=X, axes=[0, 2, 1]), operation("matmul", x1=X, x2=Y), operation("max", x=X, axis=2)]
    yield "products", graph(layers, [(0,), (1,), (1, 2), (3,)], (None, None, FEATURES))


def of_units(units: int) -> Iterator[tuple[str, ModelSpec]]:
    """(what, model) for each family of layers."""

    def cell(kind: str, features: int = FEATURES, name: str = "rnn", **config: Any) -> LayerSpec:
        return recurrent(kind, units, features, name, **config)

    ids = (None, None)
    table = simple("Embedding", "embedding", (VOCABULARY, units), input_dim=VOCABULARY, output_dim=units)
    masked_table = simple("Embedding", "embedding", (VOCABULARY, units), input_dim=VOCABULARY, output_dim=units, mask_zero=True)
    both = (cell("LSTM", name="f", return_sequences=True), cell("LSTM", name="b", return_sequences=True, go_backwards=True))
    masking = simple("Masking", mask_value=0.0)
    yield "lstm", chain(cell("LSTM"))
    yield "lstm of sequences", chain(cell("LSTM", return_sequences=True), dense(2, units, activation="softmax"))
    yield "gru", chain(cell("GRU", reset_after=True, return_sequences=True, go_backwards=True))
    yield "gru of Keras 2", chain(cell("GRU"))
    yield "simple rnn", chain(cell("SimpleRNN", return_sequences=True))
    for kind, config in (("LSTM", {}), ("GRU", {"reset_after": True}), ("GRU", {}), ("SimpleRNN", {})):
        yield f"{kind} of softmax {config}", chain(masking, cell(kind, activation="softmax", return_sequences=True, **config))
    yield "stack", chain(cell("LSTM", name="a", return_sequences=True), cell("GRU", units, "b"), dense(units, units, activation="tanh"))
    yield "both ways", chain(LayerSpec("Bidirectional", "both", {"merge_mode": "concat"}, (), both))
    yield "masked", chain(masking, cell("LSTM", return_sequences=True))
    yield "masked both ways", chain(masking, LayerSpec("Bidirectional", "both", {"merge_mode": "sum"}, (), both))
    yield "ids", chain(table, cell("LSTM", units), shape=ids)
    yield "masked ids", chain(masked_table, cell("GRU", units, reset_after=True), dense(units, units), shape=ids)
    heads = {"num_heads": 2, "key_dim": units, "use_bias": False}
    arrays = (*[(FEATURES, 2, units)] * 3, (2, units, FEATURES))
    yield "heads", graph([masking, simple("MultiHeadAttention", "heads", *arrays, **heads)], [(0,), (1, 1)], (None, None, FEATURES))
    attend, add = simple("Attention", "a", use_scale=False), simple("AdditiveAttention", "b", (units,))
    wide = simple("Dense", "wide", (FEATURES, units), (units,), units=units)
    yield "attention", graph([masking, wide, attend, add], [(0,), (1,), (2, 2), (3, 2)], (None, None, FEATURES))
    yield "table read twice", graph([table, simple("Concatenate", axis=-1)], [(0,), (1, 1)], ids)
    yield "dense", chain(dense(units, activation="gelu"), dense(1, units))
    yield "sums", graph([dense(units), simple("Add"), simple("Multiply", "m")], [(0,), (1, 1), (2, 1)], (None, None, FEATURES))
    other = simple("Masking", "other", mask_value=1.0)
    yield "masks of sums", graph([masking, other, simple("Add"), cell("LSTM")], [(0,), (0,), (1, 2), (3,)], (None, None, FEATURES))
    yield "repeated", chain(simple("RepeatVector", n=3), cell("LSTM"), shape=(None, FEATURES))
    loop = LayerSpec("TimeDistributed", "t", {}, (), (dense(units),))
    rules = Rules(time_distributed_loops="all", time_distributed_loop_repeats=True)
    yield "in a loop", replace(chain(masking, loop, shape=(7, None, FEATURES)), rules=rules)
    yield "at every step", chain(LayerSpec("TimeDistributed", "t", {}, (), (dense(units),)), simple("Permute", dims=[2, 1]))


def of_companions(units: int) -> Iterator[tuple[str, ModelSpec]]:
    """(what, model) for what stands around recurrent layers."""
    for padding, size, stride in (("same", 3, 1), ("causal", 4, 1), ("valid", 1, 2)):
        options = {"filters": units, "kernel_size": [size], "strides": [stride], "padding": padding, "activation": "relu"}
        yield f"convolution, {padding}", chain(simple("Conv1D", "c", (size, FEATURES, units), (units,), **options))
    for kind in ("MaxPooling1D", "AveragePooling1D"):
        yield kind, chain(dense(units), simple(kind, pool_size=[2], strides=[2], padding="same"))
    yield "pooled", chain(dense(units), simple("GlobalMaxPooling1D"))
    yield "normalised", chain(dense(units), simple("BatchNormalization", "n", *[(units,)] * 4, axis=-1, epsilon=1e-1))
    for kind, arrays in (("LayerNormalization", 2), ("GroupNormalization", 2), ("RMSNormalization", 1)):
        groups = {"groups": 1} if kind == "GroupNormalization" else {}
        yield kind, chain(dense(units), simple(kind, "n", *[(units,)] * arrays, axis=-1, **groups))
    yield "activations", chain(*(simple("Activation", kind, activation=kind) for kind in ("elu", "softplus", "sigmoid", "softmax")))
    kinds = ("log_softmax", "sparsemax", "glu", {"name": "relu", "max_value": 0.5, "threshold": 0.1})
    yield "other activations", chain(dense(2 * units), *(simple("Activation", f"a{n}", activation=kind) for n, kind in enumerate(kinds)))
    yield "learned activations", chain(dense(units), simple("PReLU", "p", (1, units), shared_axes=[1]))
    image = (None, 5, units, FEATURES)
    layers = [
        simple("UpSampling2D", "u", size=[2, 3], interpolation="bicubic"),
        simple("LayerNormalization", "n", axis=2, center=False, scale=False),
        simple("BatchNormalization", "b", *[(10,)] * 4, axis=1, epsilon=1e-1),
        simple("AdaptiveAveragePooling2D", "a", output_size=[3, 2]),
    ]  # fmt: skip
    yield "images", chain(*layers, shape=image)
    given = {"kernel_size": [3, 2], "padding": "same", "activation": "relu"}
    layers = [
        simple("Conv2D", "c", (3, 2, FEATURES, units), (units,), filters=units, **given),
        simple("MaxPooling2D", "p", pool_size=[2, 2]),
        simple("DepthwiseConv2D", "d", (3, 2, units, 2), (2 * units,), depth_multiplier=2, **given),
        simple("Conv2DTranspose", "t", (3, 2, units, 2 * units), (units,), filters=units, strides=[2, 1], **given),
        simple("AveragePooling2D", "a", pool_size=[2, 3], strides=[1, 2], padding="same"),
    ]
    yield "convolutions", chain(*layers, shape=(None, 6, 9, FEATURES))
    film = (3, FEATURES, 4 * units), (3, units, 4 * units), (4 * units,)
    time = simple("ConvLSTM1D", "film", *film, filters=units, kernel_size=[3], padding="same", return_sequences=True)
    yield "film", chain(time, shape=(None, 4, 9, FEATURES))


def models() -> Iterator[tuple[str, ModelSpec]]:
    """(what, model), all of them."""
    for units in UNITS:
        for what, spec in (*of_units(units), *of_companions(units), *operations(units)):
            yield f"{what}, {units}", spec


def given(model: Model, rows: int, steps: int) -> list[np.ndarray]:
    """Input for a model; of masked ones, some steps are masked."""
    found = []
    for info in model.inputs:
        shape = tuple(size if size is not None else steps if place else rows for place, size in enumerate(info.shape))
        x = normal(*shape)
        found.append((np.abs(x * 100) % VOCABULARY).astype("i4") if info.dtype == "int32" else x.astype("f4"))
        if len(shape) > 1 and shape[1] > 1:
            found[-1][::2, 1] = 0
    return found


def by_hand() -> None:
    """A mask made of ids, and numbers of it: what hardly any model asks for."""
    builder = ProgramBuilder(Constants(runtime.lanes()), 0, {})
    ids = builder.input((5,), vocabulary=VOCABULARY)
    y = of_mask(builder, mask_of(builder, floats(builder, ids)))
    given, found = np.eye(3, 5, dtype=np.int32), np.zeros((3, 5), np.float32)
    runtime.Runner(builder.program((builder.output(0, y, set()),))).run([given], [found], [])
    np.testing.assert_array_equal(found, given)


def main() -> None:
    used: set[str] = set()

    make = runtime.Runner

    def watched(program: Program, **options: Any) -> runtime.Runner:
        used.update(instruction.kernel for instruction in program.instructions)
        return make(program, **options)

    runtime.Runner = watched
    for _, spec in models():
        model = Model(spec)
        for rows, steps in ((1, 1), (7, 5)):
            model.predict(given(model, rows, steps))
    by_hand()
    missing = set(runtime.kernel_fields()) - used
    assert not missing, missing


if __name__ == "__main__":
    main()
