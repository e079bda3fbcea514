"""What every executor has, whatever it computes with: the faces (:class:`fastlstm.Model`, evaluation, self-tests) ask for no more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .errors import FormatError, InputError
from .inputs import Ragged, RaggedInputs, TensorInfo, per_step, shape_text
from .layers.base import Held, Tensor, every_layer
from .layers.network import Network
from .outputs import unlike
from .program.ir import Program
from .spec import ModelSpec, Shape

if TYPE_CHECKING:
    from . import runtime
    from .layers.streaming import Streams
    from .listing import LayerInfo

#: Shapes of inputs that are kept as ones that all layers take.
KEPT_SHAPES = 256

States = Mapping[str, tuple[np.ndarray, ...]]  # by layer path: (batch, ...) each


class Begun(NamedTuple):
    """What a stream has from its beginning on."""

    shapes: Mapping[int, Shape]  # by its number, of each input that is held
    held: Mapping[Held, Tensor]  # what its timesteps read
    states: Mapping[str, tuple[np.ndarray | float, ...]]  # by layer path, the first states; 0.0, or no path, for zeros
    max_steps: int | None = None  # how many timesteps there may be, where that was said


class Precision(NamedTuple):
    """What models compute in."""

    used: str
    why: str = ""  # it is not what was asked for


def dtype_of(network: Network, precision: str) -> np.dtype[Any]:
    """What a network computes in, where ``precision`` was asked for."""
    wide = precision == "float64" or any(layer.spec.dtype == "float64" for layer in every_layer(network))
    return np.dtype(np.float64 if wide else np.float32)


class BaseExecutor(ABC):
    """A network and everything that computes it, for any number of threads at once; it keeps no states.

    Parameters
    ----------
    network : Network
        All of its layers are known.
    dtype : numpy.dtype
        Of states, and of outputs that are numbers.
    inputs, outputs : tuple of TensorInfo
        What goes in and comes out.
    stateful : dict
        By layer path, the shapes (less the batch) of the states of those layers that Keras calls stateful.
    crosses_rows : bool
        Does a row of the outputs depend on other rows of its batch? Then every call of :meth:`run` is one batch of Keras's.
    all_at_once : bool
        Do the lengths of the outputs depend on which rows are computed together?

    Attributes
    ----------
    spec : ModelSpec
        What the network was made of.
    source : str
        Where that came from, for messages.
    """

    def __init__(
        self, network: Network, *, dtype: np.dtype[Any], inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo],
        stateful: Mapping[str, Sequence[tuple[int, ...]]], crosses_rows: bool, all_at_once: bool,
    ):  # fmt: skip
        self.network = network
        self.spec: ModelSpec = network.model
        self.source = network.source
        self.dtype = dtype
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.stateful = stateful
        self.crosses_rows = crosses_rows
        self.all_at_once = all_at_once
        self._checked: set[tuple[tuple[int, ...], ...]] = set()  # shapes of inputs that all layers take

    # -- running ----------------------------------------------------------------------------------------------------------

    @abstractmethod
    def run(
        self, arrays: Sequence[np.ndarray], states: dict[str, tuple[np.ndarray, ...]] | None = None,
        masks: Sequence[np.ndarray | None] = (),
    ) -> list[np.ndarray]:  # fmt: skip
        """Compute a batch.

        Parameters
        ----------
        arrays
            The inputs, as :func:`fastlstm.inputs.gather` gives them.
        states
            Of the stateful layers; the dict holds those from afterwards when this returns, and its arrays may be written to.
        masks
            Of the inputs, bool, None where one has none; as :func:`fastlstm.input_masks.gather_masks` gives them.

        Returns
        -------
        list of numpy.ndarray
            New arrays.
        """

    @abstractmethod
    def run_showing(self, arrays: Sequence[np.ndarray], states: dict[str, tuple[np.ndarray, ...]] | None = None) -> list[Tensor]:
        """What :meth:`run` computes, with the masks of the outputs; arguments as there."""

    @abstractmethod
    def run_ragged(self, given: Ragged | RaggedInputs) -> list[Any]:
        """Compute sequences of different lengths.

        Returns
        -------
        list
            Of each output an array, or a list of arrays where it has timesteps.
        """

    @abstractmethod
    def run_padded(self, given: Ragged) -> list[np.ndarray] | None:
        """Compute padded sequences without their padding, where every layer allows it: None where one does not.

        What an output with timesteps holds behind the last of a sequence means nothing.
        """

    def _in_groups(self, inputs: Sequence[Sequence[np.ndarray]]) -> list[Any]:
        """Compute rows of different shapes, of each input one array a row: those of the same shapes together."""
        groups: dict[Any, list[int]] = {}
        for number, row in enumerate(zip(*inputs, strict=True)):
            groups.setdefault(tuple(array.shape for array in row), []).append(number)
        pieces: list[list[Any]] = [[None] * len(inputs[0]) for _ in self.outputs]
        for members in groups.values():
            arrays = [np.stack([rows[member] for member in members]) for rows in inputs]
            for piece, y in zip(pieces, self.run(arrays), strict=True):
                for member, row in zip(members, y, strict=True):
                    piece[member] = row
        return [piece if per_step(info) or unlike(piece) else np.stack(piece) for piece, info in zip(pieces, self.outputs, strict=True)]

    @abstractmethod
    def stepping(self) -> SteppingExecutor:
        """What computes streams of the model.

        Raises
        ------
        UnsupportedError
            If there are none, whatever they would begin with.
        """

    @abstractmethod
    def fast_path(self, arrays: Sequence[np.ndarray]) -> runtime.FastPath | None:
        """The fast path for more inputs of the same shape; None where the model or these inputs do not allow one."""

    # -- what it tells ----------------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def precision(self) -> Precision:
        """What it computes in."""

    @abstractmethod
    def example_program(self) -> Program | None:
        """The Program for some input shapes that the model takes; None where it runs in NumPy alone, or no such shapes are found."""

    @abstractmethod
    def layers(self) -> tuple[LayerInfo, ...]:
        """The layers in the file's order, and how each runs."""

    def check_shapes(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Refuse inputs of shapes (less the batch) that some layer cannot take, before anything runs.

        Raises
        ------
        InputError
            That names the layer.
        """
        if shapes in self._checked:
            return
        try:
            full = [(info.shape[0], *shape) for info, shape in zip(self.inputs, shapes, strict=True)]
            self.network.shapes(full, {})
            if self.network.crosses_rows(full, {}) and not self.crosses_rows:
                raise FormatError("the rows of a batch would be mixed")
        except FormatError as error:
            given = " and ".join(shape_text((None, *shape)) for shape in shapes)
            raise InputError(f"x: input of shape {given} does not fit: {error}") from error
        if len(self._checked) >= KEPT_SHAPES:
            self._checked.clear()
        self._checked.add(shapes)

    def zero_states(self, shapes: Mapping[str, Sequence[tuple[int, ...]]], rows: int) -> dict[str, tuple[np.ndarray, ...]]:
        """States before the first timestep."""
        return {path: tuple(np.zeros((rows, *shape), self.dtype) for shape in own) for path, own in shapes.items()}


class SteppingExecutor(BaseExecutor):
    """One that computes streams too, timestep by timestep."""

    def stepping(self) -> SteppingExecutor:
        """Itself."""
        return self

    @abstractmethod
    def streams(self, held: Mapping[int, Shape], max_steps: int | None = None) -> Streams:
        """What the network makes of so many timesteps that stream in, where inputs of these numbers and shapes are held.

        Raises
        ------
        InputError
            If some layer cannot take what is held.
        """

    @abstractmethod
    def begin(self, found: Streams, arrays: Sequence[np.ndarray], rows: int) -> Begun:
        """Compute what stays as it is while a stream of so many rows runs.

        Parameters
        ----------
        found
            What the network makes of data that stream in.
        arrays
            The held inputs.
        """

    @abstractmethod
    def advance(self, found: Streams, arrays: Sequence[np.ndarray], states: States, held: Mapping[Held, Tensor]) -> list[np.ndarray]:
        """Compute the timesteps that follow those which led to ``states``; these are changed in place.

        Parameters
        ----------
        found
            What the network makes of data that stream in.
        arrays
            The inputs that are not held.
        states
            Of the layers of ``found.carried``.
        held
            What :meth:`begin` gave, for the rows that advance.
        """

    @abstractmethod
    def fast_step(
        self, found: Streams, infos: Sequence[TensorInfo], states: States, held: Mapping[Held, Tensor], guard: runtime.Guard, *,
        rows: int, sequence: bool,
    ) -> runtime.FastPath | None:  # fmt: skip
        """The fast path for timesteps of all rows of a stream; None where the model does not allow one.

        Parameters
        ----------
        found, held
            As for :meth:`advance`.
        infos
            The inputs that are not held as one timestep has them.
        states, guard
            Of the stream; the states are changed in place.
        rows
            Of the stream.
        sequence
            Has the only such input a time axis in the model?
        """
