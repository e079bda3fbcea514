"""ModelSpec -> Program: which layers run in kernels, in which buffers, in blocks of how many rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from . import lazy, logs
from .caching import Kept
from .layers.base import Held, Layer, Tensor, changed, every_layer
from .layers.network import Network, lowered
from .limits import Budget
from .program import layout
from .program.ir import Buffer, BufferInfo, Constant, Instruction, Mask, Program, Value, touched_by
from .program.lowering import merged_masks
from .records import record
from .spec import UNLIMITED, found_in

if TYPE_CHECKING:
    from .layers import streaming
    from .layers.streaming import Streams
    from .program import bfloat16, convolving, fusing
else:
    streaming = lazy.module("fastlstm.layers.streaming")
    bfloat16 = lazy.module("fastlstm.program.bfloat16")
    convolving, fusing = map(lazy.module, ("fastlstm.program.convolving", "fastlstm.program.fusing"))

T = TypeVar("T")
#: Scratch that a block of rows may take. Blocks as large as this share each reading of the weights among many rows, and
#: keep memory independent of the batch.
BLOCK_BYTES = 4 << 20
#: The work of a call back into Python.
LONG = 1 << 40
#: Fields with weights that kernels read at every step.
WEIGHTS = frozenset(("kernel", "recurrent", "kernel_h", "recurrent_h"))
#: Kernels of which threads may share the positions.
CONVOLUTIONS = frozenset(("convolve", "convolve_depthwise", "conv_lstm"))
#: Kernels of attention, and the multiply-adds of each feature of a pair of steps: those of a tanh count.
ATTENTION = {"attention": 1, "additive_attention": 8}
#: Blocks are multiples of this many rows, which every CPU level's tiles divide.
ROW_GROUP = layout.MOST_TILE_ROWS
MAX_BLOCK_ROWS = 64 * ROW_GROUP


@record()
class Constants:
    """Packed weights and tables of one Model, made once and shared by its Programs."""

    lanes: int
    budget: Budget = field(default_factory=Budget.unlimited)
    kept: Kept | None = None  # in files, for other processes
    # By the layers themselves: two may have one path ("a/b" beside a "b" in a model "a").
    arrays: dict[tuple[Layer, str, Layer | None], np.ndarray] = field(default_factory=dict)
    form: int = layout.FULL  # of weights, where they can have it
    forms: dict[tuple[Layer, str], int] = field(default_factory=dict)  # those that they have
    folded: dict[tuple[Layer, Layer], bool] = field(default_factory=dict)  # decided once: results do not depend on what came before

    def made(self, key: tuple[Layer, str, Layer | None], make: Callable[[], np.ndarray]) -> np.ndarray:
        """What ``make`` makes, unless it was kept."""
        layer, what, of = key
        if self.kept is None:
            return make()
        form = f"/{self.form}" if self.form else ""
        return self.kept.array(f"packed/{layer.number}/{what}/{'' if of is None else of.number}{form}", make)


@record()
class ProgramBuilder:
    """Collects what the layers' ``lower`` write; see :class:`fastlstm.program.ir.Builder`."""

    constants: Constants
    fold_limit: int
    stateful: Mapping[str, tuple[int, ...]]  # by layer path: the caller's state arrays that belong to it
    instructions: list[Instruction] = field(default_factory=list)
    buffers: list[BufferInfo] = field(default_factory=list)
    used: dict[tuple[Layer, str, Layer | None], int] = field(default_factory=dict)  # constants of this Program: key -> index
    threads: int = 1
    streaming: bool = False
    max_steps: int = 0
    present: Mask | None = None
    inputs: int = 0  # of the caller's arrays, so far
    held: list[tuple[np.ndarray, int]] = field(default_factory=list)  # see Program.fixed
    layer: str = ""
    times: int = 1

    @property
    def lanes(self) -> int:
        return self.constants.lanes

    def constant(self, layer: Layer, what: str, make: Callable[[], np.ndarray], *, of: Layer | None = None) -> Constant:
        """See ir.Builder."""
        key = (layer, what, of)
        if key not in self.constants.arrays:
            with np.errstate(all="ignore"):  # NaN and infinities are data: the root of a negative variance, say
                array = self.constants.arrays[key] = self.constants.made(key, lambda: layout.aligned(make()))
            self.constants.budget.hold(f"{layer.path}:{what}", array.nbytes)
        return Constant(self.used.setdefault(key, len(self.used)))

    def form(self, layer: Layer, what: str, arrays: Callable[[], Sequence[np.ndarray]]) -> int:
        """See ir.Builder."""
        wanted, forms = self.constants.form, self.constants.forms
        if wanted == layout.FULL:
            return wanted
        if (layer, what) not in forms:
            forms[layer, what] = bfloat16.chosen(wanted, arrays())
        return forms[layer, what]

    def folds(self, layer: Layer, embedding: Layer, nbytes: int) -> bool:
        """See ir.Builder. Not where that takes more than half of what loading may still take: it is for speed alone."""
        budget, known = self.constants.budget, self.constants.folded
        return known.setdefault((layer, embedding), nbytes <= min(self.fold_limit, (budget.limit - budget.held) // 2))

    def buffer(self, elements: int, *, itemsize: int = 4, fixed_bytes: int = 0) -> Buffer:
        """See ir.Builder."""
        return self._add(BufferInfo("scratch", self.times * elements * itemsize, fixed_bytes))

    def _add(self, info: BufferInfo) -> Buffer:
        self.buffers.append(info)
        return Buffer(len(self.buffers) - 1)

    def input(self, shape: tuple[int, ...], *, vocabulary: int = 0, itemsize: int = 4) -> Value:
        """The caller's next array: ids below ``vocabulary``, or numbers."""
        info = BufferInfo("input", self.times * math.prod(shape) * itemsize, number=self.inputs, vocabulary=vocabulary)
        self.inputs += 1
        return Value(self._add(info), shape, integer=vocabulary > 0)

    def fixed(self, array: np.ndarray) -> Value:
        """See ir.Builder."""
        self.held.append((array if array.dtype == bool else array.astype(np.float32, copy=False), self.times))
        return self.input(array.shape[1:], itemsize=1 if array.dtype == bool else 4)

    def emit(self, kernel: str, /, *, members: int = 1, **fields: Any) -> None:
        """See ir.Builder."""
        self.instructions.append(Instruction(kernel, fields, layer=self.layer, times=self.times, members=members))

    def read(self, value: Value) -> Buffer:
        """See ir.Builder."""
        if value.lookup is None:
            return value.buffer
        ids, layer, table = value.lookup
        steps = math.prod(value.shape[:-1])
        features = value.shape[-1]
        out = self.buffer(steps * features)
        weights = self.constant(layer, "embeddings", lambda: table)
        self.emit(
            "embedding", steps=steps, features=features, ids=ids, ids_row=steps, vocabulary=len(table), table=weights,
            y=out, y_row=steps * features,
        )  # fmt: skip
        return out

    def state(self, path: str, number: int, units: int) -> Buffer | None:
        """See ir.Builder."""
        if number >= len(self.stateful.get(path, ())):
            return None
        return self._add(BufferInfo("state", units * 4, number=self.stateful[path][number]))

    @contextmanager
    def repeated(self, times: int) -> Iterator[None]:
        """See ir.Builder."""
        self.times *= times
        present, self.present = self.present, None  # it says nothing of what is inside a step
        yield
        self.times //= times
        self.present = present

    def at_once(self, one: Callable[[], T], other: Callable[[], T]) -> tuple[T, T]:
        """See ir.Builder."""
        before = len(self.instructions)
        first, between = one(), len(self.instructions)
        second = other()
        pair = self.instructions[before:]
        if between == before + 1 and len(pair) == 2 and all(each.members == 1 and each.function is None for each in pair):
            self.instructions[-1] = replace(pair[1], beside=True)
        return first, second

    def lower(self, layer: Layer, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...]:
        """A layer as kernel calls, or as a call back into NumPy where it has none."""
        outer, self.layer = self.layer, layer.path
        values = layer.lower(self, inputs, keywords)
        if values is None:
            values = self.call_numpy(layer, inputs, keywords)
        self.layer = outer
        return values

    def call_numpy(self, layer: Layer, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...]:
        """See ir.Builder. A trial run on no rows, which takes neither time nor memory, tells shapes, and which outputs have masks."""
        given = [replace_buffer(value, self.read(value)) for value in inputs]
        words = {name: changed(value, Value, lambda v: replace_buffer(v, self.read(v))) for name, value in keywords.items()}

        def call(fetch: Callable[[Value], Tensor], rows: int) -> tuple[Tensor, ...]:
            told = {name: changed(v, Value, fetch) for name, v in words.items()}
            with np.errstate(all="ignore"):  # NaN and infinities are data
                return layer.apply([fetch(value) for value in given], told if given else {**told, "rows": rows}, None)

        trial = call(lambda v: Tensor(np.zeros((0, *v.shape), dtype_of(v)), no_rows_mask(v)), 0)
        outputs = []
        for tensor in trial:
            mask = None
            if tensor.mask is not None:
                mask = Mask(self.buffer(math.prod(tensor.mask.shape[1:]), itemsize=1), tensor.mask.shape[1:])
            pairs, shape = tensor.value.dtype.kind == "c", tensor.value.shape[1:]
            outputs.append(Value(self.buffer((1 + pairs) * math.prod(shape)), shape, mask, pairs=pairs))

        def run(rows: int, arrays: Mapping[int, np.ndarray]) -> None:
            def view(buffer: Buffer, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
                return arrays[buffer.index].view(dtype).reshape(rows, *shape)

            def fetch(v: Value) -> Tensor:
                value = view(v.buffer, v.shape, dtype_of(v))
                return Tensor(value, None if v.mask is None else view(v.mask.buffer, v.mask.shape, np.bool_))

            for tensor, out in zip(call(fetch, rows), outputs, strict=True):
                view(out.buffer, out.shape, dtype_of(out))[...] = tensor.value
                if out.mask is not None:
                    assert tensor.mask is not None  # the trial run had one
                    view(out.mask.buffer, out.mask.shape, np.bool_)[...] = tensor.mask

        touched: list[Buffer] = []
        for value in [*given, *found_in(words, Value), *outputs]:
            touched += [value.buffer] if value.mask is None else [value.buffer, value.mask.buffer]
        fields = {f"buffer{n}": buffer for n, buffer in enumerate(touched)}
        self.instructions.append(Instruction("numpy", fields, run, layer=layer.path, times=self.times))
        return tuple(outputs)

    def output(self, number: int, value: Value, taken: set[int]) -> tuple[int, ...]:
        """Have a value end in the caller's output array ``number``; returns its shape."""
        buffer = self.read(value)
        size = math.prod(value.shape)
        if self.buffers[buffer.index].kind == "scratch" and buffer.index not in taken:
            self.buffers[buffer.index] = BufferInfo("output", size * 4, number=number)
            taken.add(buffer.index)
        else:
            out = self._add(BufferInfo("output", size * 4, number=number))
            self.emit("place", steps=1, width=size, x=buffer, x_row=size, x_step=0, y=out, y_row=size, y_step=0)
        return value.shape

    def output_mask(self, number: int, mask: Mask, taken: set[int]) -> None:
        """Have a mask end in the caller's output array ``number``."""
        if self.buffers[mask.buffer.index].kind != "scratch" or mask.buffer.index in taken:
            mask = merged_masks(self, "and", [mask, mask])
        self.buffers[mask.buffer.index] = BufferInfo("output", math.prod(mask.shape), number=number)
        taken.add(mask.buffer.index)

    def kept(self, held: Mapping[Held, Tensor], first: int) -> dict[Held, Value]:
        """What a stream holds, in the caller's state arrays from number ``first`` on, as :func:`held_arrays` has them."""
        numbers = iter(range(first, first + 2 * len(held)))

        def stored(array: np.ndarray) -> Buffer:
            return self._add(BufferInfo("state", math.prod(array.shape[1:]) * array.itemsize, number=next(numbers)))

        return {
            one: Value(stored(value), value.shape[1:], None if mask is None else Mask(stored(mask), mask.shape[1:]))
            for one, (value, mask) in held.items()
        }

    def ending(self, outputs: Sequence[Value], masks: Sequence[Mask] = ()) -> Program:
        """The Program whose outputs are these values, then these masks."""
        taken: set[int] = set()
        shapes = tuple(self.output(number, value, taken) for number, value in enumerate(outputs))
        for number, mask in enumerate(masks, start=len(outputs)):
            self.output_mask(number, mask, taken)
        return self.program(shapes)

    def program(self, output_shapes: tuple[tuple[int, ...], ...]) -> Program:
        """The instructions collected so far, as a Program, in blocks that keep within BLOCK_BYTES (more where weights are large)."""
        if any(instruction.kernel in CONVOLUTIONS for instruction in self.instructions):
            self.instructions = fusing.fused(self.instructions, self.buffers, self.lanes)
        used = {index for instruction in self.instructions for index in touched_by(instruction)}
        per_row = sum(info.row_bytes for number, info in enumerate(self.buffers) if info.kind == "scratch" and number in used)
        rows = max(ROW_GROUP, min(MAX_BLOCK_ROWS, self._block_bytes() // max(per_row, 1)))
        arrays = tuple(self.constants.arrays[key] for key in self.used)
        work = sum(info.row_bytes for info in self.buffers) + sum(map(self._multiply_adds, self.instructions))
        alone = any(instruction.function is not None for instruction in self.instructions)
        members = 1 if alone else max((instruction.members for instruction in self.instructions), default=1)
        return Program(
            tuple(self.instructions), tuple(self.buffers), arrays, output_shapes, rows - rows % ROW_GROUP, members,
            self._together(members), work, self._divided(),
            tuple(f"{layer.path}:{what}" for layer, what, _ in self.used),
            tuple(self.held),
        )  # fmt: skip

    def _block_bytes(self) -> int:
        return max(BLOCK_BYTES, min(4 * 4 * sum(map(self._weights, self.instructions)), 16 * BLOCK_BYTES))

    def _weights(self, instruction: Instruction) -> int:
        """How many weights an instruction reads."""
        keys = list(self.used)
        fields = instruction.fields
        names = WEIGHTS - {"kernel", "kernel_h"} if fields.get("table") is not None else WEIGHTS  # looked up, not multiplied
        read = {fields[name].index for name in names if isinstance(fields.get(name), Constant)}
        return sum(self.constants.arrays[keys[index]].size for index in read)

    def _together(self, members: int) -> int:
        """Up to how many rows threads share kernels rather than rows: always where weights are large, which each would read by itself."""
        large = any(instruction.members > 1 and instruction.kernel not in CONVOLUTIONS for instruction in self.instructions)
        return UNLIMITED if large else members - 1

    def _divided(self) -> int:
        """Multiply-adds of a row that threads which run kernels together take off one another."""
        pairs = zip(self.instructions, self.instructions[1:], strict=False)
        beside = sum(2 * min(map(self._multiply_adds, pair)) for pair in pairs if pair[1].beside)
        return beside + sum(self._multiply_adds(instruction) for instruction in self.instructions if instruction.members > 1)

    def _multiply_adds(self, instruction: Instruction) -> int:
        if instruction.kernel in CONVOLUTIONS:
            return instruction.times * convolving.multiply_adds(instruction.fields)
        if instruction.kernel == "product":
            return instruction.times * math.prod(instruction.fields[name] for name in ("outer", "inner", "m", "k", "n"))
        if instruction.kernel in ATTENTION:
            pairs = math.prod(instruction.fields[name] for name in ("outer", "heads", "group", "steps", "others"))
            return instruction.times * pairs * (instruction.fields["features"] * ATTENTION[instruction.kernel] + instruction.fields["size"])
        steps = instruction.fields.get("steps", 1)
        return instruction.times * steps * self._weights(instruction) if instruction.function is None else LONG


def plan(
    network: Network, shapes: Sequence[tuple[int, ...]], vocabularies: Sequence[int], constants: Constants, *,
    fold_limit: int, threads: int = 1, ragged: bool = False, stateful: Mapping[str, tuple[int, ...]] | None = None,
    masks: Sequence[tuple[int, ...] | None] = (),
) -> Program:  # fmt: skip
    """The Program of a network for input shapes (less the batch).

    Parameters
    ----------
    network
        The model.
    shapes
        Of each input, less the batch.
    vocabularies
        Of each input: its int32 ids are below; 0 where it holds float32.
    constants
        Packed weights that earlier Programs of the model made.
    fold_limit
        Bytes that the table of an Embedding folded into the next layer's kernel may take.
    threads
        The most that one call may use.
    ragged
        The caller gives one array more, uint8 (timesteps,) a row: which steps of the input are there.
    stateful
        By layer path, the numbers of the caller's state arrays.
    masks
        Of each input, the shape (less the batch) of the mask that the caller gives, as one array of uint8 more; None where there is none.
    """
    builder = ProgramBuilder(constants, fold_limit, stateful or {}, threads=threads)
    values = [builder.input(shape, vocabulary=n) for shape, n in zip(shapes, vocabularies, strict=True)]
    if ragged:
        there = builder.input(shapes[0][:1], itemsize=1)
        builder.present = Mask(there.buffer, there.shape)
        values[0] = values[0]._replace(mask=builder.present)
    for number, shape in enumerate(masks):
        if shape is not None:
            values[number] = values[number]._replace(mask=Mask(builder.input(shape, itemsize=1).buffer, shape))
    program = builder.ending(network.lower(builder, values, {}))
    logs.say(logs.DEBUG, "%s: planned for inputs of shapes %s: %d kernel calls, %s rows at a time", network.source, tuple(shapes),
             len(program.instructions), program.block_rows)  # fmt: skip
    return program


def plan_showing(
    network: Network, shapes: Sequence[tuple[int, ...]], vocabularies: Sequence[int], constants: Constants, *,
    fold_limit: int, threads: int, stateful: Mapping[str, tuple[int, ...]],
) -> tuple[Program, dict[int, tuple[int, ...]]]:  # fmt: skip
    """The Program of :func:`plan` with the masks of its outputs as outputs behind them, and their shapes by the outputs' numbers."""
    builder = ProgramBuilder(constants, fold_limit, stateful, threads=threads)
    values = [builder.input(shape, vocabulary=n) for shape, n in zip(shapes, vocabularies, strict=True)]
    found = network.lower(builder, values, {})
    masks = {number: value.mask for number, value in enumerate(found) if value.mask is not None}
    return builder.ending(found, tuple(masks.values())), {number: mask.shape for number, mask in masks.items()}


def plan_step(
    network: Network, found: Streams, shapes: Sequence[tuple[int, ...]], vocabularies: Sequence[int], held: Mapping[Held, Tensor],
    constants: Constants, *, fold_limit: int,
) -> Program:  # fmt: skip
    """The Program of timesteps, which go on from where the states are: those of ``found.carried``, then the arrays of what is held.

    Parameters
    ----------
    network, constants, fold_limit
        As for :func:`plan`.
    found
        What the network makes of data that stream in.
    shapes, vocabularies
        Of each input that is not held, as for :func:`plan`.
    held
        The held tensors, for some rows.
    """
    stateful = numbered(found.carried)
    builder = ProgramBuilder(constants, fold_limit, stateful, streaming=True, max_steps=found.max_steps or 0)
    values = [builder.input(shape, vocabulary=n) for shape, n in zip(shapes, vocabularies, strict=True)]
    kept = builder.kept(held, sum(map(len, stateful.values())))

    def fetch(one: Held, mask: Held | None) -> Value:
        return kept[one]._replace(mask=None if mask is None else kept[mask].mask)

    walk = streaming.Stepping(found, partial(lowered, builder), fetch)
    return builder.ending(walk.outputs(network, found.entering(values, held=False)))


class Opening(NamedTuple):
    """The Program of a stream's beginning. Its outputs: the held tensors that are needed later, then the masks of some of them."""

    program: Program
    masks: Mapping[Held, tuple[int, ...]]  # shapes, less the batch


def plan_beginning(
    network: Network, found: Streams, vocabularies: Sequence[int], constants: Constants, *, fold_limit: int, threads: int
) -> Opening:
    """The Program of what is computed when a stream begins, from its held inputs.

    Parameters
    ----------
    network, constants, fold_limit, threads
        As for :func:`plan`.
    found
        What the network makes of data that stream in.
    vocabularies
        Of each held input, as for :func:`plan`.
    """
    builder = ProgramBuilder(constants, fold_limit, {}, threads=threads)
    shapes = [tuple(size or 0 for size in flow.shape[1:]) for flow in found.inputs if flow.held is not None]
    values = [builder.input(shape, vocabulary=n) for shape, n in zip(shapes, vocabularies, strict=True)]
    walk = streaming.Beginning(found, partial(lowered, builder), builder.fixed)
    walk.through(network, found.entering(values, held=True))
    made = {one: walk.made[one] for one in found.wanted}
    masks = {one: value.mask for one, value in made.items() if value.mask is not None}
    return Opening(builder.ending(tuple(made.values()), tuple(masks.values())), {one: mask.shape for one, mask in masks.items()})


def numbered(states: Mapping[str, Sequence[Any]]) -> dict[str, tuple[int, ...]]:
    """By layer path, the numbers of its state arrays in :func:`flat`."""
    numbers: dict[str, tuple[int, ...]] = {}
    first = 0
    for path in sorted(states):
        numbers[path] = tuple(range(first, first + len(states[path])))
        first += len(states[path])
    return numbers


def flat(states: Mapping[str, Sequence[T]]) -> list[T]:
    """All arrays, in the order in which Programs number them."""
    return [array for path in sorted(states) for array in states[path]]


def held_arrays(held: Mapping[Held, Tensor]) -> list[np.ndarray]:
    """The arrays of what a stream holds, values and masks, in the order in which Programs number them."""
    return [array for tensor in held.values() for array in tensor if array is not None]


def most_packed(network: Network, lanes: int) -> int:
    """Bytes that the weights of a network take at the most once they are packed: blocks of units are filled up."""

    def numbers(shape: tuple[int, ...], states: int) -> int:
        *rows, columns = shape or (1,)
        if columns <= layout.DOT_UNITS and not states:  # they lie by unit
            return columns * (math.prod(rows) + lanes)
        return math.prod(rows) * (columns + 8 * lanes)  # gates may be packed apart

    layers = every_layer(network)
    return 4 * sum(numbers(array.shape, len(layer.state_shapes())) for layer in layers for array in layer.spec.weights)


def replace_buffer(value: Value, buffer: Buffer) -> Value:
    """The same value, carried out into a buffer."""
    return value._replace(buffer=buffer, lookup=None, integer=value.integer and value.lookup is None)


def dtype_of(value: Value) -> Any:
    """The dtype of a value's numbers."""
    return np.int32 if value.integer else np.complex64 if value.pairs else np.float32


def no_rows_mask(value: Value) -> np.ndarray | None:
    """A mask of no rows, for a value that has one."""
    return None if value.mask is None else np.ones((0, *value.mask.shape), np.bool_)
