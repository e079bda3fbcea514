"""Recurrent layers: a cell carried along time, with masks, states and both directions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ..program.arithmetic import binary, cumulated, floats, of_mask, selected
from ..program.copying import flipped, reshaped, sliced
from ..program.ir import At, Buffer, Builder, Mask, Value
from ..program.lowering import copied
from ..spec import LayerSpec, Shape, found_in
from .base import Context, Course, Flow, Layer, States, Streaming, Tensor, changed, floating
from .cell_base import Cell
from .cells import CELL_HONOURED, CELL_INERT, GatedCell, GRUCell, LSTMCell, SimpleRNNCell, cell_of

LOOP_HONOURED = frozenset(
    {
        "return_sequences",
        "return_state",
        "go_backwards",
        "stateful",
        "unroll",
        "zero_output_for_mask",
        "time_major",
        "num_constants",
    }
)
LOOP_INERT = frozenset({"use_cudnn", "input_spec", "build_config"})


def states_given(keywords: Mapping[str, Any]) -> Iterator[Shape]:
    """The shapes of the tensors of initial_state, however nested."""
    return nested_shapes(keywords.get("initial_state"))


def nested_shapes(value: Any) -> Iterator[Shape]:
    """The shapes in tuples of tuples of them."""
    if isinstance(value, tuple) and value and all(isinstance(inner, tuple) for inner in value):
        for inner in value:
            yield from nested_shapes(inner)
    elif value:
        yield value


def expanded(mask: np.ndarray, array: np.ndarray) -> np.ndarray:
    """A mask of one step with as many axes as an array has."""
    return mask.reshape(*mask.shape, *((1,) * (array.ndim - mask.ndim)))


class Heads:
    """Zeros in place of what a recurrent layer emits, in a stream, at masked steps before the first valid one.

    Only where it was given a state, which it would emit there: see :attr:`fastlstm.spec.Rules.head_output`. Without one that is zeros.
    """

    def __init__(self, path: str):
        self.path = path

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        """Of outputs (with the mask of the steps), and 1 for each row that has had a valid step before: the same afterwards."""
        (out, mask), (begun, _) = inputs
        assert mask is not None  # else all steps are valid
        valid = (begun > 0) | np.logical_or.accumulate(mask, axis=1)
        shown = valid if out.ndim > 2 else valid[:, -1]
        return Tensor(np.where(expanded(shown, out), out, out.dtype.type(0)), mask), Tensor(valid[:, -1:].astype(out.dtype))

    def lower(self, b: Builder, inputs: Sequence[Value]) -> tuple[Value, Value] | None:
        """The same as kernel calls."""
        out, begun = inputs
        assert out.mask is not None
        steps = out.mask.shape[0]
        so_far = cumulated(b, reshaped(b, of_mask(b, out.mask), (steps,)), 0)
        count = so_far and binary(b, "add", so_far, begun)
        valid = count and binary(b, "greater", count, 0.0)
        last = valid and sliced(b, valid, [(steps - 1, 1, 1)])
        if valid is None or last is None:
            return None
        shown = selected(b, reshaped(b, valid, (steps, 1)) if len(out.shape) > 1 else last, out, 0.0)
        return None if shown is None else (shown._replace(mask=out.mask), last)


class Recurrent(Layer):
    """The base of all recurrent layers.

    Attributes
    ----------
    cell : Cell
        One step.
    return_sequences, return_state, go_backwards, stateful, time_major : bool
        As in Keras. With ``time_major`` the first axis of its input and of its sequence is time, and the second the batch.
    zero_output : bool
        Whether masked steps emit zeros; else they repeat the previous output.
    head_state : bool
        Whether masked steps before the first valid one emit the initial state; else zeros.
    """

    HONOURED = LOOP_HONOURED
    INERT = LOOP_INERT
    cell: Cell

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        config = self.config
        self.return_sequences = bool(config.get("return_sequences", False))
        self.return_state = bool(config.get("return_state", False))
        self.go_backwards = bool(config.get("go_backwards", False))
        self.zero_output = bool(config.get("zero_output_for_mask", False))
        carries = self.rules.carries_state
        if context.in_bidirectional:
            # Keras of some generations sets the wrapped layers' own argument where sequences are returned; TensorFlow 1.13 sets and
            # records it always, and gives zeros for the last output too where the last step is masked.
            zeros = self.rules.bidirectional_masked_output == "zeros" and self.zeroed_in_bidirectional()
            self.zero_output = self.zero_output or (self.return_sequences and zeros)
            # Some generations forget that a wrapped layer is stateful, and never store its states.
            carries = carries and self.rules.bidirectional_carries_state
        self.stateful = bool(config.get("stateful", False)) and carries
        # An unrolled loop remembers the previous output and not the state, in every generation.
        unroll = bool(config.get("unroll", False))
        self.head_state = self.rules.head_output == "state" and not unroll
        self._first_cell_emits = self.rules.stacked_masked_output == "first" and not unroll
        self.time_major = bool(config.get("time_major", False))
        if self.time_major and self.stateful:
            self.refuse("it is stateful with time_major=True, which is not computed", "time_major=False would do, with the axes in order")
        self.only("num_constants", None, 0)

    def zeroed_in_bidirectional(self) -> bool:
        """Does a Bidirectional have it emit zeros, in the generations where it does so?"""
        return True

    @property
    def recurrent(self) -> bool:
        return True

    def causal(self, inputs: Sequence[Shape]) -> bool:
        return not self.go_backwards

    def crosses_rows(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> bool:
        return self.time_major  # then the steps are what stands along the axis of rows

    def ignores_padding(self, inputs: Sequence[Shape]) -> bool:
        # Reversed, the steps after a row's end come first and shift the outputs.
        return not (self.go_backwards and self.return_sequences)

    def course(self, inputs: Sequence[Flow], keywords: Mapping[str, Any], outputs: Sequence[Shape]) -> Course:
        sequence, *states = outputs
        flows = (Flow(sequence, self.return_sequences), *(Flow(shape, False) for shape in states))
        if any(flow.held is None for flow in found_in(keywords.get("initial_state"), Flow)):
            return Course(flows, "it starts from a state that an input or another layer gives, which must stay as it is")
        if self.go_backwards:
            return Course(flows, "it reads the sequence backwards, from an end that a stream does not know")
        if not self.state_shapes():
            return Course(flows, "its state of images is not carried from call to call")
        return Course(flows, "" if inputs[0].steps else "its input is not a stream of timesteps")

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Units of each state, in the order in which Keras returns them."""
        return self.cell.state_sizes

    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple((size,) for size in self.state_sizes)

    def state_names(self) -> tuple[str, ...]:
        """See base.Layer: h and c, or numbers where there are several cells, or one of the caller's."""
        names, count = self.cell.state_names(), len(self.state_sizes)
        return names or tuple(map(str, range(count)))

    def stream_states(self, keywords: Mapping[str, Any], masked: bool) -> tuple[tuple[tuple[int, ...], ...], tuple[str, ...]]:
        """See base.Layer: with those that it is given, also which rows have had a valid step, where masked steps emit zeros until then."""
        shapes, names = super().stream_states(keywords, masked)
        late = masked and keywords.get("initial_state") and self._honours_mask(keywords) and not (self.head_state or self.zero_output)
        return ((*shapes, (1,)), (*names, "begun")) if late else (shapes, names)

    def shapes(self, inputs: Sequence[Shape], keywords: Mapping[str, Any]) -> tuple[Shape, ...]:
        shape = inputs[0]
        if len(shape) != 3:
            raise self.error(f"reads (batch, timesteps, features), found shape {shape}")
        batch, steps, features = (shape[1], shape[0], shape[2]) if self.time_major else shape
        if features is None:
            raise self.error("the number of features of its input is not known")
        self.cell.check(features)
        self.check_states(list(states_given(keywords)), tuple((size,) for size in self.state_sizes))
        units = self.cell.output_size
        sequence: Shape = (steps, batch, units) if self.time_major else (batch, steps, units)
        out: Shape = sequence if self.return_sequences else (batch, units)
        return (out, *((batch, size) for size in self.state_sizes)) if self.return_state else (out,)

    def check_states(self, given: Sequence[Shape], expected: Sequence[Shape]) -> None:
        """Check the shapes of an initial_state, if there is one, against those of the states, less the batch."""
        if given and len(given) != len(expected):
            raise self.error(f"initial_state has {len(given)} tensors, expected {len(expected)}")
        for shape, wanted in zip(given, expected, strict=False):
            if len(shape) != len(wanted) + 1 or any(n is not None and n != size for n, size in zip(shape[1:], wanted, strict=True)):
                raise self.error(f"initial_state has a tensor of shape {shape}, expected {(None, *wanted)}")

    def output_shape(self, x: np.ndarray) -> tuple[int, ...]:
        """Shape of the output of one step of one row."""
        return (self.cell.output_size,)

    def start(self, x: np.ndarray, keywords: Mapping[str, Any], states: States | None) -> tuple[np.ndarray, ...]:
        """The states before the first step. In a stream those recorded, which began with the ones given."""
        given = list(found_in(keywords.get("initial_state"), Tensor))
        recorded = states[self.path][: len(self.state_sizes)] if states is not None and self.path in states else ()
        if recorded and (isinstance(states, Streaming) or (self.rules.recorded_state_wins and any(map(np.any, recorded)))):
            given = []
        if given:
            return tuple(tensor.value.astype(x.dtype, copy=False) for tensor in given)
        if recorded:
            return tuple(state.astype(x.dtype, copy=False) for state in recorded)
        return tuple(np.zeros((len(x), size), x.dtype) for size in self.state_sizes)

    def apply(self, inputs: Sequence[Tensor], keywords: Mapping[str, Any], states: States | None) -> tuple[Tensor, ...]:
        x, mask = self._rows_first(floating(inputs[0].value)), inputs[0].mask
        if keywords.get("initial_state") is not None and not self._honours_mask(keywords):
            mask = None
        mask = None if mask is None else self._rows_first(mask)
        start = self.start(x, keywords, states)
        if mask is not None:
            self._check_mask(mask, x.shape[1], [self.output_shape(x), *(state.shape[1:] for state in start)])
        head_state = self.head_state or isinstance(states, Streaming)
        outputs, last, final = self.loop(x, mask, start, head_state)
        if states is not None and self.path in states:
            begun = states[self.path][len(final) :]
            if begun and mask is not None:
                (outputs, _), (now, _) = Heads(self.path).apply((Tensor(outputs, mask), Tensor(begun[0])), {}, None)
                last, begun = outputs[:, -1], (now,)
            states[self.path] = (*final, *begun)
        # The mask handed on is the input's, never reversed, also where this layer did not honour it.
        out = Tensor(self._rows_first(outputs), inputs[0].mask) if self.return_sequences else Tensor(last)
        return (out, *(Tensor(state) for state in final)) if self.return_state else (out,)

    def _rows_first(self, array: np.ndarray) -> np.ndarray:
        """An array whose first axis is the batch, of one as the layer takes it, and the other way round."""
        return np.ascontiguousarray(array.swapaxes(0, 1)) if self.time_major and array.ndim > 1 else array

    def _honours_mask(self, keywords: Mapping[str, Any]) -> bool:
        """Whether a mask counts beside an initial_state: always if it was given as an argument itself."""
        return self.rules.mask_with_initial_state or "mask" in keywords

    def loop(
        self, x: np.ndarray, mask: np.ndarray | None, states: tuple[np.ndarray, ...], head_state: bool
    ) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
        """Outputs of all steps in the order of processing, output of the last step, and final states."""
        steps = range(x.shape[1] if len(x) else 0)  # no rows have no steps: only shapes are asked for
        first = self._first_state()
        outputs = np.zeros((len(x), x.shape[1], *self.output_shape(x)), x.dtype)
        emitted = states[first] if head_state else np.zeros(outputs.shape[:1] + outputs.shape[2:], x.dtype)
        for number, t in enumerate(reversed(steps) if self.go_backwards else steps):
            output, new = self.cell.step(x[:, t], states)
            if mask is None:
                states = new
            else:
                valid = expanded(mask[:, t], output)
                masked = np.zeros_like(output) if self.zero_output else states[first] if self._first_cell_emits else emitted
                output = np.where(valid, output, masked)
                states = tuple(np.where(valid, state, before) for state, before in zip(new, states, strict=True))
            emitted = outputs[:, number] = output
        return outputs, emitted, states

    def _check_mask(self, mask: np.ndarray, steps: int, carried: Sequence[tuple[int, ...]]) -> None:
        """Refuse a mask that does not say of each step, or of each place in what a step leaves, whether it is there."""
        for shape in carried:
            places = mask.shape[2:]
            fits = len(places) <= len(shape) and all(n in (1, size) for n, size in zip(places, shape, strict=False))
            if mask.shape[1:2] != (steps,) or not fits:
                raise self.error(
                    f"its input has a mask of shape (batch, {', '.join(map(str, mask.shape[1:]))}), which does not go with {steps} "
                    f"steps of an output or state of shape {shape}: Keras cannot run it either"
                )

    def lower(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        inputs, keywords = (
            [floats(b, value) for value in inputs],
            {name: changed(v, Value, partial(floats, b)) for name, v in keywords.items()},
        )
        x, units = inputs[0], self.cell.output_size
        steps = x.shape[0]
        if not self.has_kernel(inputs, keywords):
            return self._emitting_first(b, inputs, keywords)
        sequence = self.return_sequences
        out = b.buffer(steps * units if sequence else units)
        states = self.write(b, x, keywords, out, row=steps * units if sequence else units, step=units)
        result = Value(out, (steps, units), x.mask) if sequence else Value(out, (units,), x.mask)
        begun = b.state(self.path, len(self.state_sizes), 1) if b.streaming and x.mask is not None else None
        if begun is not None:
            shown = Heads(self.path).lower(b, [result, Value(begun, (1,))])
            if shown is None:
                return None
            result, now = shown
            copied(b, 1, now.buffer, 1, begun, 1)
        return (result if sequence else result._replace(mask=None), *states)

    def has_kernel(self, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> bool:
        """Can :meth:`write` write this layer?"""
        return self._has_kernels(inputs, keywords) and not self._emits_first(inputs[0], keywords)

    def _has_kernels(self, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> bool:
        given = list(found_in(keywords.get("initial_state"), Value))
        if self.time_major:
            return False
        if any(value.integer for value in (inputs[0], *given)):
            return False
        if given and self.stateful and self.rules.recorded_state_wins:
            return False
        steps = inputs[0].shape[:1]
        if inputs[0].mask is not None and inputs[0].mask.shape not in (steps, (*steps, 1)):
            return False
        return all(cell.has_kernel() for cell in self.cell.cells)

    def _emits_first(self, x: Value, keywords: Mapping[str, Any]) -> bool:
        """Do masked steps emit the state of the first of several cells?"""
        return bool(self.cell.children) and self._first_cell_emits and not self.zero_output and self._mask(x, keywords) is not None

    def _mask(self, x: Value, keywords: Mapping[str, Any]) -> Mask | None:
        """The mask that counts."""
        return x.mask if not keywords.get("initial_state") or self._honours_mask(keywords) else None

    def _emitting_first(self, b: Builder, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...] | None:
        """The layer where masked steps emit the state of the first cell, which is what that cell emits there."""
        x, cells = inputs[0], self.cell.cells
        units, steps = self.cell.output_size, x.shape[0]
        alike = cells[0].output_size == units and len(cells) > 1
        mask = self._mask(x, keywords)
        if mask is None or not alike or not self._has_kernels(inputs, keywords):
            return None
        out = Value(b.buffer(steps * units), (steps, units))
        how = {
            "y": out.buffer,
            "y_row": steps * units,
            "y_step": units,
            "y_time_order": 1,
            "last": None,
            "last_row": 0,
            "fill": 0,
            "head": 0,
        }
        states, first = self._write(b, x, keywords, how)
        valid = reshaped(b, of_mask(b, mask), (steps, 1))
        shown = first and selected(b, valid, out, first)
        if shown is not None and not self.return_sequences:
            shown = sliced(b, shown, [(0 if self.go_backwards else steps - 1, 1, 1), (0, units, 1)])
            return None if shown is None else (reshaped(b, shown, (units,)), *states)
        if shown is not None and self.go_backwards:
            shown = flipped(b, shown, [0])
        return None if shown is None else (shown._replace(mask=x.mask), *states)

    def write(self, b: Builder, x: Value, keywords: Mapping[str, Any], out: Buffer | At, *, row: int, step: int) -> tuple[Value, ...]:
        """Write the kernel calls: outputs go to ``out``, ``row`` floats from row to row and ``step`` from step to step.

        Returns
        -------
        tuple of Value
            The final states, with ``return_state``.
        """
        return self._write(b, x, keywords, self._output_fields(b, out, row, step))[0]

    def _write(
        self, b: Builder, x: Value, keywords: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> tuple[tuple[Value, ...], Value | None]:
        """Write the kernel calls; ``outputs``: what the last cell's is told of its output. Gives the final states, with
        ``return_state``, and of several cells what the first emits, in the order of time.
        """
        steps = x.shape[0]
        given = list(found_in(keywords.get("initial_state"), Value))
        mask = self._mask(x, keywords)
        carried = [b.state(self.path, n, size) for n, size in enumerate(self.state_sizes)]
        if b.streaming and None not in carried:  # which began with those given
            given = []
        starts: list[Buffer | None] = [b.read(value) for value in given] if given else list(carried)
        finals: list[Buffer | None] = list(carried)
        if self.return_state:
            finals = [state or b.buffer(size) for state, size in zip(carried, self.state_sizes, strict=True)]
        common = {"mask": mask.buffer if mask else None, "mask_row": steps, "reverse": int(self.go_backwards)}
        first: Value | None = None
        # Stacked cells are layers one after the other: where a step is masked no cell computes it.
        for cell, mine in zip(self.cell.cells, self.cell.state_numbers(), strict=True):
            assert isinstance(cell, GatedCell)  # has_kernel said so
            units = cell.units
            before, after = [starts[n] for n in mine], [finals[n] for n in mine]
            if cell is self.cell.cells[-1]:
                cell.emit(b, x, before, after, {**common, **outputs})
            else:
                inner = Value(b.buffer(steps * units), (steps, units))
                cell.emit(b, x, before, after, {**common, **self._in_time_order(inner)})
                x, first = inner, first or inner
        return (self._returned(b, carried, finals) if self.return_state else ()), first

    @staticmethod
    def _in_time_order(sequence: Value) -> Mapping[str, Any]:
        """What the kernel of a cell is told that writes each step in its place; at masked ones it repeats its state."""
        steps, units = sequence.shape
        fields = {"y": sequence.buffer, "y_row": steps * units, "y_step": units, "y_time_order": 1, "fill": 0, "head": 1}
        return {**fields, "last": None, "last_row": 0}

    def _output_fields(self, b: Builder, out: Buffer | At, row: int, step: int) -> dict[str, Any]:
        """Where the kernel of the last cell writes, and what it writes at masked steps."""
        sequence, last = (out, None) if self.return_sequences else (None, out)
        head = int(self.head_state or b.streaming)
        fields = {"y": sequence, "y_row": row, "y_step": step, "y_time_order": 0, "last": last, "last_row": row}
        return {**fields, "fill": int(self.zero_output), "head": head}

    def _returned(self, b: Builder, carried: Sequence[Buffer | None], finals: Sequence[Buffer | None]) -> tuple[Value, ...]:
        """The final states as outputs."""
        returned = []
        for state, final, size in zip(carried, finals, self.state_sizes, strict=True):
            assert final is not None
            if state is not None:  # the caller's array goes on changing
                final = b.buffer(size)
                copied(b, size, state, size, final, size)
            returned.append(Value(final, (size,)))
        return tuple(returned)

    def _first_state(self) -> int:
        """Which state stands for the output: the h of the last cell, or of the first where the generation has it so."""
        return 0 if self._first_cell_emits else self.cell.output_state


class RNN(Recurrent):
    """A recurrent layer of any cell."""

    CLASSES = ("RNN",)
    HONOURED = LOOP_HONOURED | {"cell"}

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        if len(spec.children) != 1:
            raise self.error(f"expected one cell, found {len(spec.children)}")
        self.cell = cell_of(spec.children[0], context.inside(self.path), self)

    @property
    def children(self) -> tuple[Layer, ...]:
        return (self.cell,)


class Fused(Recurrent):
    """A recurrent layer that owns the weights and arguments of its cell."""

    CELL: ClassVar[type[Cell]]

    def __init__(self, spec: LayerSpec, context: Context):
        super().__init__(spec, context)
        known = self.CELL.HONOURED | self.CELL.INERT
        config = {key: value for key, value in spec.config.items() if key in known}
        self.cell = self.CELL(replace(spec, config=config), context)


class SimpleRNN(Fused):
    CLASSES = ("SimpleRNN",)
    CELL = SimpleRNNCell
    HONOURED = LOOP_HONOURED | CELL_HONOURED
    INERT = LOOP_INERT | CELL_INERT


class LSTM(Fused):
    CLASSES = ("LSTM",)
    CELL = LSTMCell
    HONOURED = LOOP_HONOURED | LSTMCell.HONOURED
    INERT = LOOP_INERT | LSTMCell.INERT


class GRU(Fused):
    CLASSES = ("GRU",)
    CELL = GRUCell
    HONOURED = LOOP_HONOURED | GRUCell.HONOURED
    INERT = LOOP_INERT | GRUCell.INERT
