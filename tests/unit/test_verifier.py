"""The verifier alone keeps kernels inside what they are given: whatever layers write, and whatever earlier checks let pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from kernel_programs import PROGRAMS, VOCABULARY, call, inputs, layer, model, program
from layer_specs import recurrent

from fastlstm import InputError, Model, runtime
from fastlstm.errors import KernelError
from fastlstm.executor import Executor
from fastlstm.layers.base import Layer
from fastlstm.layers.concatenate import Concatenate
from fastlstm.layers.network import Network
from fastlstm.layers.recurrent import Recurrent
from fastlstm.planner import ProgramBuilder
from fastlstm.program import layout
from fastlstm.program.contract import AXES
from fastlstm.program.contracts import CONTRACTS
from fastlstm.program.ir import At, Buffer, BufferInfo, Builder, Constant, Instruction, Program, Value
from fastlstm.program.verifier import verify
from fastlstm.spec import LayerSpec, Ref

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
