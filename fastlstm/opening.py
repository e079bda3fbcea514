"""A file that is to be read, as the arguments of ``load``, ``convert``, ``verify`` and ``describe`` say."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, BinaryIO

from . import caching, formats, lazy, logs, runtime
from .errors import InputError
from .inputs import positive
from .limits import Budget
from .model import Model
from .records import record
from .spec import Case, ModelSpec

if TYPE_CHECKING:
    from . import cutting, isolation
    from .isolation import Isolation
else:
    cutting, isolation = lazy.module("fastlstm.cutting"), lazy.module("fastlstm.isolation")

PathLike = str | os.PathLike[str]
#: What a model is read from: a path, bytes, a file opened with "rb" or an h5py.File (of which mypy need not know).
Readable = PathLike | bytes | bytearray | memoryview | BinaryIO | Any
#: Names of tensors of a model.
Names = str | Sequence[str] | None
Functions = Mapping[str, Callable[..., Any]]


@record(frozen=True)
class Reading:
    """A file that is read: here or, within ``bounds``, in a process of its own; all that comes of it within one budget."""

    source: formats.Source
    budget: Budget
    bounds: Isolation | None
    architecture: Any
    by_name: bool
    files: tuple[str, ...] = ()  # the files that it was gathered from
    pipelines: bool = False  # may it hold a pipeline? Else that is refused: its network alone gives other numbers
    started: float = field(default_factory=time.perf_counter)

    @property
    def name(self) -> str:
        """The file, for messages."""
        return self.source.name

    def spec(self) -> ModelSpec:
        """Read the model that the file describes."""
        if self.bounds is None:
            found = formats.read(self.source, architecture=self.architecture, by_name=self.by_name, budget=self.budget)
        else:
            found = isolation.read(self.source, self.bounds, self.budget, architecture=self.architecture, by_name=self.by_name)
        if found.pipeline is not None and not self.pipelines:
            line = f"fastlstm.Pipeline.load({self.name!r})"
            raise InputError(
                f"{self.name}: it holds a pipeline: its network takes what the pipeline makes of raw input; load it with {line}, "
                f"or the network alone with {line}.model"
            )
        return found

    def cut(
        self, inputs: Names, outputs: Names, custom_layers: Functions | None = None, custom_activations: Functions | None = None
    ) -> ModelSpec:  # fmt: skip
        """The part of it that leads from some tensors to others."""
        spec, functions = self.spec(), {"custom_layers": custom_layers, "custom_activations": custom_activations}
        if inputs is None and outputs is None:
            return spec
        return replace(cutting.cut(spec, self.name, inputs, outputs, budget=self.budget, **functions), pipeline=None)

    def model(
        self, inputs: Names = None, outputs: Names = None, custom_layers: Functions | None = None,
        custom_activations: Functions | None = None, precision: str | None = None,
    ) -> Model:  # fmt: skip
        """The model, with all that :func:`load` takes for granted."""
        model: Model[Any] = Model(
            self.cut(inputs, outputs, custom_layers, custom_activations), source=self.name, budget=self.budget, precision=precision,
            custom_layers=custom_layers, custom_activations=custom_activations,
        )  # fmt: skip
        log_loaded(self, model)
        return model

    def cases(self) -> tuple[tuple[Case, ...], tuple[str, ...]]:
        """The cases in a ``.fastlstm`` file, and its arrays that were altered."""
        if self.bounds is None:
            return formats.own.read_cases(self.source, self.budget)
        return isolation.read_cases(self.source, self.bounds, self.budget)


@contextmanager
def reading(
    path: Readable, architecture: Any, by_name: bool, max_bytes: int | None, isolated: bool | Isolation, kept: bool = False,
    pipelines: bool = False,
) -> Iterator[Reading]:  # fmt: skip
    """A file that is to be read as the caller's arguments say; ``kept``: where its weights are kept in packed form, with those."""
    source, bounds = formats.source_of(path), None if isolated is False else isolation.bounds_of(isolated)
    most = None if max_bytes is None else positive(max_bytes, "max_bytes", expected="a positive number of bytes or None")
    if kept and bounds is None and source.path is not None and not source.files and formats.own.is_own(source):
        source = replace(source, kept=caching.Kept(source.path, runtime.level(), runtime.lanes()))
    with Budget(source.name, source.size, most) as budget:
        whole = source if source.apart else source.gathered(budget)
        yield Reading(whole, budget, bounds, architecture, by_name, tuple(source.files.values()), pipelines)


def log_loaded(source: Reading, found: Any) -> None:
    """Say what was loaded or described, a Model or a Description: how long it took, and what runs where."""
    if not logs.wanted(logs.INFO):
        return
    is_model = isinstance(found, Model)
    parameters, threads = (found.count_params(), found.threads) if is_model else (found.parameters, 1)
    took = (time.perf_counter() - source.started) * 1e3
    logs.say(logs.INFO, "%s: %s, %s parameters; loaded in %.1f ms", source.name, found.generation, f"{parameters:,}", took)
    counts: dict[str, int] = {}
    for layer in found.layers:
        counts[layer.runs or "unknown"] = counts.get(layer.runs or "unknown", 0) + 1
    runs = ", ".join(f"{count} {word}" for word, count in sorted(counts.items(), key=lambda pair: -pair[1]))
    logs.say(logs.INFO, "%s: kernels of level %s, threads: %d, layers: %s", source.name, runtime.level(), threads, runs)
    for layer in found.layers:
        what = layer.name, layer.class_name, layer.runs, layer.output_shape
        logs.say(logs.DEBUG, "%s: layer %r (%s): %s, output shape %s", source.name, *what)
