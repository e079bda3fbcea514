"""The verifier alone keeps kernels inside what they are given: whatever layers write, and whatever earlier checks let pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from layer_specs import normal, recurrent
from tensor_calls import Calls

from fastlstm import InputError, Model, runtime
from fastlstm.errors import KernelError
from fastlstm.executor import Executor
from fastlstm.layers.base import Layer
from fastlstm.layers.concatenate import Concatenate
from fastlstm.layers.network import Network
from fastlstm.layers.recurrent import Recurrent
from fastlstm.planner import ProgramBuilder
from fastlstm.program import arithmetic, layout, masks
from fastlstm.program.attending import Hidden, Matrices, Pairs, Sizes, Tanh, attended
from fastlstm.program.contract import AXES
from fastlstm.program.contracts import CONTRACTS
from fastlstm.program.copying import flipped, padded
from fastlstm.program.ir import At, Buffer, BufferInfo, Builder, Constant, Instruction, Mask, Program, Value
from fastlstm.program.verifier import verify
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


# -- faults that the verifier must find by itself, each with what else would refuse it taken out ----------------------------------


def unequal_lengths(patch: pytest.MonkeyPatch) -> Callable[[], object]:
    """Concatenate that takes the steps of its first input for all."""

    def lower(self: Concatenate, b: Builder, given: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...]:
        (steps, _), widths = given[0].shape, [value.shape[1] for value in given]
        out, start = b.buffer(steps * sum(widths)), 0
        for value, width in zip(given, widths, strict=True):
            b.emit(
                "place", steps=steps, width=width, x=b.read(value), x_row=steps * width, x_step=width,
                y=At(out, start), y_row=steps * sum(widths), y_step=sum(widths),
            )  # fmt: skip
            start += width
        return (Value(out, (steps, sum(widths))),)

    patch.setattr(Concatenate, "lower", lower)
    patch.setattr(Executor, "check_shapes", lambda self, shapes: None)
    shape = (None, None, 3)
    made = Model(model([*inputs(shape, shape), layer("Concatenate", "c", axis=-1)], [call(2, 0, 1)]))
    return lambda: made.predict([np.ones((1, 1000, 3), np.float32), np.ones((1, 1, 3), np.float32)])


def axis_of_the_batch(patch: pytest.MonkeyPatch) -> Callable[[], object]:
    """Concatenate(axis=0), which becomes axis -1 of a row: a Dense after it would have half as many weights as features."""
    patch.setattr(Layer, "row_axes", lambda self, value, rank: (value % rank,))
    layers = [*inputs((None, 4)), layer("Concatenate", "c", axis=0), layer("Dense", "d", (4, 9), (9,), units=9)]
    spec = model(layers, [call(1, 0, 0), call(2, 1)])
    return lambda: Model(spec).predict(np.ones((2, 4), np.float32))


def ids_that_a_nested_model_hands_on(patch: pytest.MonkeyPatch) -> Callable[[], object]:
    """They are checked against the larger of two vocabularies."""
    patch.setattr(Network, "vocabularies", lambda self: (900,))
    nested = model(
        [*inputs((None, None), dtype="int32"), layer("Embedding", "e", (900, 2), input_dim=900, output_dim=2)], [call(1, 0)],
        [Ref(0), Ref(1)], "nested",
    )  # fmt: skip
    outer = [
        *inputs((None, None), dtype="int32"), LayerSpec("Functional", "nested", {}, (), (), nested),
        layer("Embedding", "small", (10, 2), input_dim=10, output_dim=2),
    ]  # fmt: skip
    spec = model(outer, [call(1, 0), call(2, 1)], [Ref(2), Ref(1, 1)])
    return lambda: Model(spec).predict(np.array([[899, 5]]))


def constants_by_path(patch: pytest.MonkeyPatch) -> Callable[[], object]:
    """Two layers whose paths are spelled alike, of which one gets the other's weights."""
    constant = ProgramBuilder.constant
    first: dict[str, Layer] = {}

    def shared(self: ProgramBuilder, owner: Layer, what: str, make: Callable[[], np.ndarray], *, of: Layer | None = None) -> Constant:
        return constant(self, first.setdefault(owner.path, owner), what, make, of=of)

    patch.setattr(ProgramBuilder, "constant", shared)
    nested = model([*inputs((None, 50)), layer("Dense", "d", (50, 40), (40,), units=40)], [call(1, 0)], name="a")
    layers = [
        *inputs((None, 5)), layer("Dense", "a/d", (5, 50), (50,), units=50), LayerSpec("Functional", "a", {}, (), (), nested),
    ]  # fmt: skip
    spec = model(layers, [call(1, 0), call(2, 1)])
    return lambda: Model(spec).predict(np.ones((2, 5), np.float32))


def state_of_another_width(patch: pytest.MonkeyPatch) -> Callable[[], object]:
    """initial_state of 3 units for a cell of 300."""
    patch.setattr(Recurrent, "check_states", lambda self, given, expected: None)
    layers = [*inputs((None, None, 4), (None, 3)), recurrent("LSTM", 300, 4, "lstm")]
    spec = model(layers, [call(2, 0, initial_state=(Ref(1), Ref(1)))])
    return lambda: Model(spec).predict([np.ones((1, 1, 4), np.float32), np.ones((1, 3), np.float32)])


FAULTS = {
    unequal_lengths: "layer 'c': kernel 'place': x ",
    axis_of_the_batch: "layer 'd': kernel 'dense': x has rows of 32 bytes, expected 128",
    ids_that_a_nested_model_hands_on: "ids are checked to be below 900, the table has 10 rows",
    constants_by_path: "layer 'a/d': kernel 'dense': kernel would be read from byte 0 to",
    state_of_another_width: "layer 'lstm': kernel 'lstm': .0 has rows of 12 bytes, expected 1200",
}


@pytest.mark.parametrize("make", FAULTS, ids=lambda make: make.__name__)
def test_the_verifier_alone_refuses(make: Callable[[pytest.MonkeyPatch], Callable[[], object]], monkeypatch: pytest.MonkeyPatch) -> None:
    run = make(monkeypatch)
    with pytest.raises(KernelError, match=FAULTS[make]) as caught:
        run()
    assert "please report it" in str(caught.value)


def test_what_was_read_wrongly_is_right_or_refused_now() -> None:
    """The same models, nothing taken out."""
    with pytest.MonkeyPatch.context() as patch:
        run = unequal_lengths(patch)
    with pytest.raises(InputError, match="do not go together"):
        run()
    with pytest.MonkeyPatch.context() as patch:
        run = ids_that_a_nested_model_hands_on(patch)
    with pytest.raises(InputError, match="expected ids from 0 to 9"):
        run()
    with pytest.MonkeyPatch.context() as patch:
        run = constants_by_path(patch)
    assert run().shape == (2, 40)  # type: ignore[attr-defined]


@pytest.mark.parametrize("folded", [True, False])
def test_ids_changed_after_they_were_checked(folded: bool) -> None:
    """A look-up stays in its table, whatever the caller's other threads do to the array meanwhile."""
    table = layer("Embedding", "e", (VOCABULARY, 5), input_dim=VOCABULARY, output_dim=5)
    for more in (layer("Flatten", "f"), recurrent("GRU", 6, 5, "gru"), recurrent("LSTM", 6, 5, "lstm")):
        made = Model(model([*inputs((None, 4), dtype="int32"), table, more], [call(1, 0), call(2, 1)]), fold_limit=1 << 20 if folded else 0)
        good, bad = np.array([[6, 0, 3, 6]], np.int32), np.array([[2**31 - 1, -(2**31), 3, 7]], np.int32)
        expected, found = made.predict(good), np.empty_like(made.predict(good))
        runner, _ = made.executor.prepared(((4,),))
        runner.run([bad], [found], [])
        np.testing.assert_array_equal(found, expected)


# -- every field of every kernel ---------------------------------------------------------------------------------------------------


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


def test_every_kernel_is_among_them() -> None:
    used = {instruction.kernel for one in PROGRAMS.values() for instruction in one.instructions if instruction.function is None}
    assert used == set(CONTRACTS)


def changed(program: Program, number: int, **fields: Any) -> Program:
    """A Program with other fields in one instruction."""
    instructions = list(program.instructions)
    instructions[number] = replace(instructions[number], fields={**instructions[number].fields, **fields})
    return replace(program, instructions=tuple(instructions))


def refused(program: Program) -> bool:
    try:
        verify(program, runtime.lanes())
    except KernelError:
        return True
    return False


def every_field() -> Iterator[tuple[str, int, Instruction, str]]:
    for name, one in PROGRAMS.items():
        for number, instruction in enumerate(one.instructions):
            if instruction.function is None:
                for field in instruction.fields:
                    yield name, number, instruction, field


#: What says how, not how much; any value of these is safe.
HOW = {
    "reverse",
    "activation",
    "recurrent_activation",
    "y_time_order",
    "limited",
    "fill",
    "head",
    "op",
    "mean",
    "turned",
    "pool0",
    "pool1",
    "pool2",
    "pool_mean",
    "then",
    "causal",
    "band",
    "zeros",
}
#: Strides of what may be missing.
STRIDES = {
    "last_row": "last", "mask_row": "mask", "h0_row": "h0", "out_row": "h_out", "y_row": "y", "ids_row": "ids", "vocabulary": "ids",
    "a_row": "a", "b_row": "b",
}  # fmt: skip


#: Of kernels of windows: steps by the counts that they are steps of.
WINDOW_STEPS = {"s": "n", "d": "k", "y": "n"}


def sees(instruction: Instruction, field: str) -> bool:
    """Of kernels of windows: does much more of a field lead anywhere?"""
    given, name, axis = instruction.fields, field[:-1], field[-1]
    if instruction.kernel == "pool_windows":
        return name not in ("s", "k", "before")  # what lies outside is left out
    if name in WINDOW_STEPS and axis.isdigit():
        return given[WINDOW_STEPS[name] + axis] > 1
    if name == "n":
        return given[f"s{axis}"] != 0
    if name == "before":
        return any(given[f"a{n}"] != given[f"padded{n}"] for n in range(3))
    if field == "x_time":
        return given["steps"] > 1
    return field != "x_group" or given["groups"] > 1


def matters(instruction: Instruction, field: str) -> bool:
    """Does a kernel read by this field at all?"""
    given, table, ids = instruction.fields, instruction.fields.get("table"), instruction.fields.get("ids")
    if field in STRIDES:
        return given.get(STRIDES[field]) is not None
    if "k0" in instruction.fields and field != "y_step":
        return sees(instruction, field)
    if instruction.kernel in ("rearrange", "binary", "product") and field[0] in "abxyn":
        return moves(instruction, field)
    if field == "x_row":
        return ids is None
    if field == "x_step":
        return given["x"] is not None and (given["steps"] > 1 or ids is not None)
    if field == "y_step":
        return given["y"] is not None and given["steps"] > 1
    return field != "features" or instruction.kernel == "embedding" or table is None


def moves(instruction: Instruction, field: str) -> bool:
    """Of kernels with steps along axes: does a larger count or step lead anywhere?"""
    given = instruction.fields
    if field == "x_row":
        return given["x"] is not None
    if field in AXES:
        return instruction.kernel == "binary" or given[f"y{field[1:]}"] != 0
    if "_" in field:
        return given[field.partition("_")[2]] > 1
    if field[1:].isdigit():
        return (
            given[field[0]] is not None
            and given[f"n{field[1:]}"] > 1
            and (field not in CONTRACTS[instruction.kernel].signed or given[field] != 0)
        )
    return True


def test_more_of_anything_is_refused() -> None:
    """Counts and strides that are larger reach beyond what is there, unless nothing is read by them."""
    checked = 0
    for name, number, instruction, field in every_field():
        contract = CONTRACTS[instruction.kernel]
        how = field in HOW
        if field in contract.reads | contract.writes | contract.floats or how:
            continue
        # A step that is a little longer may stay within the row of what another instruction writes between.
        value = 2 * instruction.fields[field] if field in contract.signed else instruction.fields[field] + 1
        if "k0" in contract.fields:  # scratch is rounded up: a little more may fit
            value = 64 * value + 64
        more = changed(PROGRAMS[name], number, **{field: value})
        assert refused(more) == matters(instruction, field), f"{name}: {instruction.kernel}.{field} = {value}"
        checked += 1
    assert checked > 150


def test_one_less_of_anything_is_refused() -> None:
    """Arrays that are one element smaller than they were: whatever a kernel was given, it would reach beyond."""
    checked = 0
    for name, number, instruction, field in every_field():
        one, value = PROGRAMS[name], instruction.fields[field]
        contract = CONTRACTS[instruction.kernel]
        if field not in contract.reads | contract.writes or value is None:
            continue
        target = value.target if isinstance(value, At) else value
        if isinstance(target, Constant):
            constants = list(one.constants)
            constants[target.index] = layout.aligned(constants[target.index].reshape(-1)[:-1])
            less = replace(one, constants=tuple(constants))
            if field in ("kernel", "kernel_h") and instruction.fields.get("table") is not None:
                assert not refused(less), "nothing is multiplied where the product is looked up"
                continue
        else:
            buffers = list(one.buffers)
            info = buffers[target.index]
            shrunk = {"fixed_bytes": info.fixed_bytes - 1} if info.fixed_bytes else {"row_bytes": info.row_bytes - 1}
            buffers[target.index] = replace(info, **shrunk)
            less = replace(one, buffers=tuple(buffers), output_shapes=())
        assert refused(less), f"{name}: {instruction.kernel}.{field} in instruction {number}"
        checked += 1
    assert checked > 150


def test_addresses_that_are_none() -> None:
    for name, number, instruction, field in every_field():
        contract = CONTRACTS[instruction.kernel]
        value = instruction.fields[field]
        if field in contract.reads | contract.writes:
            assert refused(changed(PROGRAMS[name], number, **{field: 7})), "a number is no address"
            if value is not None and field not in contract.optional:
                missing = refused(changed(PROGRAMS[name], number, **{field: None}))
                unread = field in ("x", "kernel", "kernel_h") and instruction.fields.get("table") is not None
                assert missing or unread, f"{name}: {instruction.kernel}.{field}"
            if field == "ids" and value is not None and "vocabulary" in instruction.fields:
                assert refused(changed(PROGRAMS[name], number, ids=None)), "what is looked up by no ids"
        else:
            assert refused(changed(PROGRAMS[name], number, **{field: Buffer(0)})), "an address is no number"
            if field in contract.counts:
                assert refused(changed(PROGRAMS[name], number, **{field: 0}))
            if field not in contract.floats:
                assert refused(changed(PROGRAMS[name], number, **{field: 1 << 63}))
                assert refused(changed(PROGRAMS[name], number, **{field: 0.5}))


def copying(**changes: Any) -> Program:
    fields = {"steps": 1, "width": 4, "x": Buffer(0), "x_row": 4, "y": Buffer(1), "y_row": 4, **changes}
    return Program((Instruction("place", fields, layer="l"),), (BufferInfo("input", 16), BufferInfo("output", 16)), (), ((4,),), 6)


def test_the_smallest_program() -> None:
    assert not refused(copying())
    assert not refused(copying(x=At(Buffer(0), 0)))
    for changes in (
        {"x": At(Buffer(0), 1)}, {"x": At(Buffer(0), -1)}, {"y": Buffer(0)}, {"x": Buffer(1)}, {"x_row": 0}, {"x_row": 3}, {"width": 5},
        {"steps": 2, "x_step": 1}, {"steps": 2, "x_step": -1}, {"colour": 1}, {"rows": 6}, {"width": True}, {"steps": -1},
    ):  # fmt: skip
        assert refused(copying(**changes)), changes


def test_programs_whose_arrays_do_not_agree() -> None:
    good = copying()
    for bad in (
        replace(good, output_shapes=((5,),)), replace(good, buffers=(*good.buffers, BufferInfo("input", 8))),
        replace(good, buffers=(BufferInfo("input", -16), good.buffers[1])),
        replace(good, instructions=(replace(good.instructions[0], times=0),)),
        replace(good, instructions=(replace(good.instructions[0], times=2),)),
        replace(good, instructions=(replace(good.instructions[0], kernel="nothing"),)),
    ):  # fmt: skip
        with pytest.raises(KernelError, match="please report it"):
            runtime.Runner(bad)


def test_room_for_threads() -> None:
    """A kernel that threads divide has scratch for as many as the Program may be run by."""
    weights = recurrent("LSTM", 520, 3, "rnn")
    shared = program(model([*inputs((None, None, 3)), weights], [call(1, 0)]), threads=3)
    assert shared.members == 3
    assert not refused(shared)
    assert refused(replace(shared, members=4))
    (index,) = (n for n, instruction in enumerate(shared.instructions) if instruction.members > 1)
    more = replace(shared.instructions[index], members=4)
    assert refused(replace(shared, instructions=(*shared.instructions[:index], more, *shared.instructions[index + 1 :])))
    assert refused(replace(copying(), instructions=(replace(copying().instructions[0], members=2),), members=2))


def test_the_kernels_are_those_of_the_contracts() -> None:
    assert runtime.kernel_fields() == {name: contract.fields for name, contract in CONTRACTS.items()}
