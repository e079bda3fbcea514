"""Programs that together call every kernel, with masks and states where a kernel takes them, and what models are made of here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from layer_specs import normal, recurrent
from tensor_calls import Calls

from fastlstm import Model, runtime
from fastlstm.program import arithmetic, masks
from fastlstm.program.attending import Hidden, Matrices, Pairs, Sizes, Tanh, attended
from fastlstm.program.copying import flipped, padded
from fastlstm.program.ir import Mask, Program, Value
from fastlstm.spec import Call, Generation, LayerSpec, ModelSpec, Ref

VOCABULARY = 7


def layer(class_name: str, name: str, *weights: tuple[int, ...], **config: Any) -> LayerSpec:
    """A layer with weights of those shapes."""
    return LayerSpec(class_name, name, config, tuple(normal(*shape).astype(np.float32) for shape in weights))


def inputs(*shapes: tuple[int | None, ...], dtype: str = "float32") -> list[LayerSpec]:
    """InputLayers, batch first."""
    return [LayerSpec("InputLayer", f"x{n}", {"shape": list(shape), "dtype": dtype}) for n, shape in enumerate(shapes)]


def model(layers: Sequence[LayerSpec], calls: Sequence[Call], outputs: Sequence[Ref] | None = None, name: str = "m") -> ModelSpec:
    """A model of those layers, whose first ones are InputLayers with a call each."""
    count = sum(one.class_name == "InputLayer" for one in layers)
    every = (*(Call(n) for n in range(count)), *calls)
    ends = tuple(outputs or (Ref(len(every) - 1),))
    names = tuple(f"x{n}" for n in range(count)), tuple(f"y{n}" for n in range(len(ends)))
    kind = "single" if len(ends) == 1 else "list"
    generation = Generation("Keras", "", "", "")
    return ModelSpec(name, "Functional", tuple(layers), every, tuple(map(Ref, range(count))), ends, *names, generation, output_kind=kind)


def call(number: int, *given: int | Ref, **keywords: Any) -> Call:
    """A call that reads those calls' first outputs."""
    return Call(number, tuple(Ref(ref) if isinstance(ref, int) else ref for ref in given), keywords)


def programs() -> Iterator[tuple[str, Program]]:
    """Programs that together call every kernel, with masks and states where a kernel takes them."""
    sequences = (None, None, 3)
    table = layer("Embedding", "e", (VOCABULARY, 5), input_dim=VOCABULARY, output_dim=5, mask_zero=True)
    masking = layer("Masking", "m", mask_value=0.0)
    for kind, config in (("LSTM", {}), ("GRU", {"reset_after": True}), ("GRU", {"reset_after": False}), ("SimpleRNN", {})):
        cell = recurrent(kind, 6, 3, "rnn", return_sequences=True, **config)
        states = tuple(map(Ref, range(1, 3 if kind == "LSTM" else 2)))
        layers = [*inputs(sequences, *[(None, 6)] * len(states)), masking, cell]
        count = len(states)
        yield f"{kind} {config}", program(model(layers, [call(count + 1, 0), call(count + 2, count + 1, initial_state=states)]))
        for limit in (0, 1 << 20):
            spec = model([*inputs((None, 4), dtype="int32"), table, recurrent(kind, 6, 5, "rnn", **config)], [call(1, 0), call(2, 1)])
            yield f"{kind} {config} of ids", program(spec, fold_limit=limit)
        yield (
            f"{kind} {config} of softmax",
            program(model([*inputs(sequences), recurrent(kind, 6, 3, activation="softmax", **config)], [call(1, 0)])),
        )
        both = LayerSpec("Bidirectional", "both", {"merge_mode": "concat"}, (), (cell, replace(cell, name="back")))
        yield f"both ways, {kind}", program(model([*inputs(sequences), both], [call(1, 0)]))
    yield "table", program(model([*inputs((None, 4), dtype="int32"), table, layer("Flatten", "f")], [call(1, 0), call(2, 1)]))
    masked = [*inputs(sequences, sequences), masking, replace(masking, name="n"), layer("Add", "a"), recurrent("LSTM", 6, 3, "rnn")]
    yield "masks", program(model(masked, [call(2, 0), call(3, 1), call(4, 2, 3), call(5, 4)]))
    convolution = layer("Conv1D", "c", (3, 3, 6), (6,), filters=6, kernel_size=[3], strides=[1], padding="same", activation="gelu")
    chain = [convolution, layer("BatchNormalization", "b", *[(6,)] * 4, axis=-1), layer("Activation", "s", activation="softmax")]
    chain += [layer("MaxPooling1D", "p", pool_size=[2], strides=[2], padding="valid"), layer("GlobalMaxPooling1D", "g")]
    chain += [
        layer("RepeatVector", "r", n=3),
        layer("BatchNormalization", "o", *[(6,)] * 4, axis=-1),
        layer("Dense", "d", (6, 2), (2,), units=2),
        layer("Activation", "l", activation="elu"),
    ]
    calls = [call(number, number - 1) for number in range(1, len(chain) + 1)]
    yield "chain", program(model([*inputs(sequences), *chain], calls))
    yield "mean", program(model([*inputs(sequences), masking, layer("GlobalAveragePooling1D", "g")], [call(1, 0), call(2, 1)]))
    yield "concatenated", program(model([*inputs(sequences, sequences), layer("Concatenate", "c", axis=-1)], [call(2, 0, 1)]))
    yield from programs_of_images()
    for write in TENSORS:
        calls = Calls(runtime.level(), [np.ones((1, 4, 1, 3), np.float32), np.ones((1, 5, 3), np.float32), np.ones((1, 4), np.int32)])
        value = write(calls)
        assert value is not None
        yield write.__name__, calls.program(value)
    for tanh in (False, True):
        calls = Calls(runtime.level(), [np.ones((1, *shape), dtype) for shape, dtype in ATTENDED])
        yield f"attention, {tanh}", calls.program(attention_of_everything(calls, tanh))


#: Query, key and value of 2 x 4 (x 2) heads, what hides their steps, and how many came before.
ATTENDED = (
    ((2, 3, 20), np.float32), ((2, 4, 10), np.float32), ((2, 4, 12), np.float32), ((3,), np.uint8), ((4,), np.uint8),
    ((2, 4, 3, 4), np.uint8), ((1,), np.float32), ((3, 5), np.float32),
)  # fmt: skip


def attention_of_everything(calls: Calls, tanh: bool) -> Value:
    """A call that has every field, after one that adds to what is remembered."""
    b, (q, k, v, step_mask, other_mask, pairs, past, x) = calls.builder, calls.values
    kept = b.buffer(4 * 5)
    b.emit("remember", steps=3, others=4, size=5, x=x.buffer, x_row=15, x_step=5, past=past.buffer, y=kept)
    out = Value(b.buffer(2 * 3 * 24), (2, 3, 24))
    operands = (
        Matrices(q.buffer, 120, 60, 5, 20), Matrices(k.buffer, 80, 40, 5, 10), Matrices(v.buffer, 96, 48, 6, 12),
        Matrices(out.buffer, 144, 72, 6, 24),
    )  # fmt: skip
    masks = Mask(step_mask.buffer, (3,)), Mask(other_mask.buffer, (4,)), Pairs(pairs.buffer, 96, 48, 12, 4, 1)
    hidden = Hidden(*masks, causal=True, band=2, zeros=True, past=past.buffer)
    by = Tanh(0.5, calls.constant(np.ones(5)).constant) if tanh else None
    attended(b, operands, Sizes(2, 2, 2, 3, 4, 5, 6), hidden, 0.5, tanh=by, scores=True)
    return out


def programs_of_images() -> Iterator[tuple[str, Program]]:
    """Those of images and films."""
    images = [
        layer("Conv2D", "c", (3, 2, 1, 6), (6,), filters=6, kernel_size=[3, 2], padding="same", groups=3),
        layer("BatchNormalization", "b", *[(6,)] * 4, axis=-1), layer("Activation", "s", activation="tanh"),
        layer("MaxPooling2D", "p", pool_size=[2, 2]), layer("DepthwiseConv2D", "d", (2, 2, 6, 1), (6,), kernel_size=[2, 2], strides=[2, 1]),
        layer("AveragePooling2D", "a", pool_size=[2, 2], strides=[1, 1], padding="same"),
        layer("Conv2D", "e", (2, 2, 6, 33), (33,), filters=33, kernel_size=[2, 2], dilation_rate=[1, 2], padding="same"),
        layer("Conv2DTranspose", "t", (3, 3, 5, 33), (5,), filters=5, kernel_size=[3, 3], strides=[2, 2], padding="same"),
    ]  # fmt: skip
    calls = [call(number, number - 1) for number in range(1, len(images) + 1)]
    film = layer("ConvLSTM1D", "l", (3, 2, 20), (3, 5, 20), (20,), filters=5, kernel_size=[3], padding="same", return_sequences=True)
    yield "film", program(model([*inputs((None, 4, 6, 2), (None, 6, 5), (None, 6, 5)), film], [call(3, 0, initial_state=(Ref(1), Ref(2)))]))
    yield "convolutions", program(model([*inputs((None, 9, 11, 3)), *images], calls))
    images = [layer("UpSampling2D", "u", size=2, interpolation="bilinear"), layer("AdaptiveAveragePooling2D", "a", output_size=[3, 2])]
    images += [layer("LayerNormalization", "n", (2,), (2,), axis=2), layer("GroupNormalization", "g", (4,), (4,), axis=-1, groups=2)]
    images += [layer("PReLU", "p", (3, 2, 4)), layer("LayerNormalization", "o", (4,), (4,), axis=-1)]
    images += [layer("ReLU", "r", max_value=0.5, threshold=0.1), layer("Activation", "s", activation="sparsemax")]
    images += [layer("SReLU", "t", *[(3, 2, 4)] * 4), layer("Activation", "m", activation="log_softmax")]
    yield "images", program(model([*inputs((None, 4, 5, 4)), *images], [call(number, number - 1) for number in range(1, 11)]))


def broadcast_sum(calls: Calls) -> Value | None:
    return arithmetic.binary(calls.builder, "add", calls.values[0], calls.values[1])


def constant_less(calls: Calls) -> Value | None:
    return arithmetic.binary(calls.builder, "less", calls.constant(np.ones((4, 1, 1))), calls.values[1])


def halved(calls: Calls) -> Value | None:
    return arithmetic.binary(calls.builder, "divide", calls.values[1], 2.0)


def chosen_where_there(calls: Calls) -> Value | None:
    b, x = calls.builder, calls.values[1]
    there = arithmetic.of_mask(b, arithmetic.mask_of(b, x))
    root = arithmetic.unary(b, "sqrt", x)
    return root and arithmetic.selected(b, there, root, calls.constant(np.ones(3)))


def padded_and_turned(calls: Calls) -> Value | None:
    wide = padded(calls.builder, calls.values[1], [(1, 0), (1, 0)])
    return wide and flipped(calls.builder, wide, [1])


def of_integers(calls: Calls) -> Value | None:
    return arithmetic.floats(calls.builder, calls.values[2])


def along_axes(calls: Calls) -> Value | None:
    b = calls.builder
    x = arithmetic.cumulated(b, calls.values[1], 0)
    weights = x and arithmetic.softmax(b, x, 0)
    return weights and arithmetic.reduced(b, "max", weights, [0])


def products(calls: Calls) -> Value | None:
    b, x, y = calls.builder, *calls.values[:2]
    scores = arithmetic.product(b, y, y, transpose_y=True)
    mixed = scores and arithmetic.product(b, scores, y)
    return mixed and arithmetic.product(b, mixed, x, transpose_y=True)


def carried_on(calls: Calls) -> Value | None:
    b, x = calls.builder, calls.values[1]
    there = arithmetic.reduced(b, "any", x, [1])
    return there and masks.carried(b, x, arithmetic.mask_of(b, there))


TENSORS = (broadcast_sum, constant_less, halved, chosen_where_there, padded_and_turned, of_integers, along_axes, products, carried_on)


def program(spec: ModelSpec, **options: Any) -> Program:
    """A Program of a model, for four steps where those are open."""
    made = Model(spec, **options)
    shapes = tuple(tuple(size or 4 for size in info.shape[1:]) for info in made.inputs)
    return made.executor.prepared(shapes)[1]


PROGRAMS = dict(programs())
