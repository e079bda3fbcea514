"""An executor of models in stages: what comes before and after the core runs in NumPy, the core as any other model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from . import lazy
from .base_executor import BaseExecutor, Precision, SteppingExecutor, dtype_of
from .catalogue import Role
from .errors import InputError, Problem, UnsupportedError
from .executor import Executor, input_infos
from .inputs import Ragged, RaggedInputs, TensorInfo, cast, shapes_of
from .layers.base import Tensor, every_layer
from .layers.network import Network
from .limits import Budget
from .outputs import copies
from .program.ir import Program
from .pruning import MAKING
from .spec import STRING, WHOLE
from .staging import Entrance, Stages, staged

if TYPE_CHECKING:
    from . import listing
    from .listing import LayerInfo
else:
    listing = lazy.module("fastlstm.listing")


def executor_of(network: Network, *, precision: str, budget: Budget, **options: Any) -> BaseExecutor:
    """What computes a network: in stages, where it has layers that make categories; the options are those of :class:`Executor`."""
    stages = staged(network)
    if stages is None:
        return Executor(network, precision=precision, budget=budget, **options)
    return StagedExecutor(network, stages, precision=precision, budget=budget, **options)


class StagedExecutor(BaseExecutor):
    """A network in stages, without kernels of its own: its core has an :class:`Executor`.

    Attributes
    ----------
    stages : Stages
        The layers before and after the core.
    core : Executor or None
        What computes the rest; None where there is none.
    crosses_rows : bool
        Texts are padded to the longest of a batch too, which layers that ignore masks see.
    """

    def __init__(self, network: Network, stages: Stages, *, precision: str, budget: Budget, **options: Any):
        network.shapes(network.input_shapes(), {})  # names the layer that does not take what it is given
        core = None if stages.core is None else Executor(stages.core, precision=precision, budget=budget, **options)
        dtype = dtype_of(network, precision)
        outputs = output_infos(network, stages, core, dtype)
        mixes_rows, pads = network.crosses_rows(network.input_shapes(), {}), shows_padding(stages)
        at_once = pads and any(None in info.shape[1:] for info in outputs)
        super().__init__(
            network, dtype=dtype, inputs=staged_inputs(network, stages, core, dtype), outputs=outputs,
            stateful={} if core is None else core.stateful, crosses_rows=mixes_rows or (pads and not at_once), all_at_once=at_once,
        )  # fmt: skip
        self.stages, self.core = stages, core
        self._mixes_rows = mixes_rows

    def run(
        self, arrays: Sequence[np.ndarray], states: dict[str, tuple[np.ndarray, ...]] | None = None,
        masks: Sequence[np.ndarray | None] = (),
    ) -> list[np.ndarray]:  # fmt: skip
        if any(mask is not None for mask in masks):
            raise InputError("mask: expected None for a model that makes ids or categories of its inputs, found a mask")
        self.check_shapes(shapes_of(arrays))

        def core(given: Sequence[np.ndarray]) -> list[np.ndarray]:
            assert self.core is not None  # there is something to compute
            return self.core.run(self._given_to_core(given), states)

        return copies(self.stages.run_with(arrays, core))

    def run_showing(self, arrays: Sequence[np.ndarray], states: dict[str, tuple[np.ndarray, ...]] | None = None) -> list[Tensor]:
        self.check_shapes(shapes_of(arrays))

        def core(given: Sequence[np.ndarray]) -> list[Tensor]:
            assert self.core is not None  # there is something to compute
            return self.core.run_showing(self._given_to_core(given), states)

        made = self.stages.shown_with(arrays, core)
        return [Tensor(np.array(one.value, order="C"), one.mask) for one in made]

    def _given_to_core(self, given: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What is made in front, and inputs, as the core takes them."""
        assert self.core is not None
        pairs = zip(given, self.core.inputs, self.stages.entering, strict=True)
        return [x if one.number in self._core_only else self._entering(x, info, one) for x, info, one in pairs]

    def _entering(self, x: np.ndarray, info: TensorInfo, entrance: Entrance) -> np.ndarray:
        """What the front has made, as the core wants it."""
        if entrance.number is None and 0 in x.shape[1:]:
            if len(x):
                layer = self.stages.layer(entrance.ref.call)
                raise InputError(
                    f"x: expected a word in one of the texts of a batch at least, found none in {len(x)}: layer {layer.path!r} "
                    f"({layer.spec.class_name}) gives no timesteps"
                )
            x = np.zeros((0, *(size or 1 for size in x.shape[1:])), x.dtype)  # no rows, of any length
        try:
            return cast(x, info)
        except InputError as error:
            layer = self.stages.layer(entrance.ref.call)
            raise InputError(f"x: what layer {layer.path!r} ({layer.spec.class_name}) makes of it: {error}") from error

    @property
    def _core_only(self) -> set[int]:
        """The numbers of the inputs that were cast as the core wants them."""
        return set(range(len(self.inputs))) - self.stages.read_in_front

    def run_ragged(self, given: Ragged | RaggedInputs) -> list[Any]:
        if self._mixes_rows:
            raise InputError("x: expected an array, as rows of this model depend on each other; found a list of sequences")
        if isinstance(given, RaggedInputs):
            return self._in_groups(given.rows)
        return self._in_groups([[row[:length] for row, length in zip(given.padded, given.lengths, strict=True)]])

    def run_padded(self, given: Ragged) -> None:
        """None: what is made in front takes no padding."""

    def stepping(self) -> SteppingExecutor:
        layer = next(layer for layer in every_layer(self.network) if layer.row.role in MAKING)
        what = "what it makes of text and categories is not made step by step"
        advice = f"stream the rest, in Python: fastlstm.load(..., inputs=[{layer.path!r}]), and give it what this layer makes"
        raise UnsupportedError(self.source, (Problem(layer.path, layer.spec.class_name, what, advice),))

    def fast_path(self, arrays: Sequence[np.ndarray]) -> None:
        """None, as Python is needed before the kernels."""

    @property
    def precision(self) -> Precision:
        return Precision(self.dtype.name) if self.core is None else self.core.precision

    def example_program(self) -> Program | None:
        return None if self.core is None else self.core.example_program()

    def layers(self) -> tuple[LayerInfo, ...]:
        around = {self.stages.layer(number) for number in (*self.stages.front, *self.stages.back)}
        paths = {layer.path for layer in around if layer.row.role is not Role.INPUT}
        found = listing.layer_infos(self.network, self.example_program())
        return tuple(replace(info, runs="NumPy") if info.name in paths else info for info in found)


def shows_padding(stages: Stages) -> bool:
    """Are rows padded to the longest of a batch, which the core does not mask everywhere?"""
    if not any(stages.layer(number).pads_rows() for number in stages.front):
        return False
    core = stages.core
    return core is None or not core.takes_padding or any(layer.masked_value != 0 for layer in core.readers()[0])


def staged_inputs(network: Network, stages: Stages, core: Executor | None, dtype: np.dtype[Any]) -> tuple[TensorInfo, ...]:
    """The inputs: those that only the core reads as it wants them, others as the file declares them."""
    infos = list(input_infos(network, dtype))
    own = {} if core is None else dict(zip((one.number for one in stages.entering), core.inputs, strict=True))
    for number, info in enumerate(infos):
        if number not in stages.read_in_front:
            infos[number] = replace(own[number], name=info.name) if number in own else info
        elif info.declared == STRING or info.declared in WHOLE - {"bool"}:
            infos[number] = replace(info, dtype=info.declared, vocabulary=None, exact=False, kept=info.declared != STRING)
        else:
            infos[number] = replace(info, dtype=dtype.name, vocabulary=None)
    return tuple(infos)


def output_infos(network: Network, stages: Stages, core: Executor | None, dtype: np.dtype[Any]) -> tuple[TensorInfo, ...]:
    """The outputs; what no rows make tells their dtypes."""
    shapes = network.shapes(network.input_shapes(), {})

    def computed(given: Sequence[np.ndarray]) -> list[np.ndarray]:
        infos = () if core is None else core.outputs
        return [np.zeros((0, *(size or 1 for size in info.shape[1:])), dtype) for info in infos]

    made = stages.run_with(stages.examples(0), computed)
    dtypes = [STRING if y.dtype == object else y.dtype.name for y in made]
    return tuple(map(TensorInfo, network.model.output_names, shapes, dtypes))
