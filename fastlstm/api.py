"""From file to file, and what a file holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import formats, surroundings
from .errors import InputError, Problem, UnsupportedError, VerificationError
from .isolation import Isolation
from .layers.matching import functions_of, lacking, prepared
from .layers.network import root
from .limits import Budget
from .listing import LayerInfo, outline
from .loading import load
from .model import Model
from .opening import Functions, Names, PathLike, Readable, log_loaded, reading
from .replacing import checked
from .selftest import Comparison, check, check_with_keras, record
from .spec import FLOAT32, REDUCED, STRING, ModelSpec, Shape
from .verifying import Verification, around, installed_keras, refuse_both, verify

__all__ = ["ConversionReport", "Description", "Verification", "convert", "describe", "load", "verify"]


@dataclass(frozen=True)
class ConversionReport:
    """The result of :func:`fastlstm.convert`."""

    source: str
    target: str
    generation: str  # which Keras saved the source
    parameters: int
    bytes: int  # size of the target
    checked_against: str  # "float64", or "float64 and Keras 3.15.1"
    cases: tuple[Comparison, ...]
    precision: str = FLOAT32  # what the file says that it is to be computed in
    checked_in: str = FLOAT32  # what it was checked in on this machine

    def __str__(self) -> str:
        worst = max((case.difference for case in self.cases), default=0.0)
        return (
            f"{self.source} -> {self.target}: {self.generation}; {self.parameters:,} parameters, {self.bytes:,} bytes; "
            f"{len(self.cases)} recorded cases checked against {self.checked_against}, largest difference {worst:.2e}{self._precision()}"
        )

    def _precision(self) -> str:
        if self.precision == FLOAT32:
            return ""
        return f"; to be computed in {self.precision}" + ("" if self.checked_in == self.precision else f", checked in {self.checked_in}")


def convert(
    src: Readable, dst: PathLike, *, architecture: Any = None, by_name: bool = False, inputs: Names = None, outputs: Names = None,
    custom_layers: Functions | None = None, custom_activations: Functions | None = None, verify: bool = True, keras: bool = False,
    precision: str | None = None, max_bytes: int | None = None, isolated: bool | Isolation = False,
) -> ConversionReport:  # fmt: skip
    """Write a model as a ``.fastlstm`` file: its weights, its meaning, and cases that prove both.

    Parameters
    ----------
    src
        The Keras file: a path, or what else :func:`load` takes.
    dst
        The path to write to: another file, replaced only when everything went well.
    architecture, by_name
        As for :func:`load`.
    inputs, outputs
        As for :func:`load`: the part of the model to write. The recorded cases are that part's.
    custom_layers, custom_activations
        As for :func:`load`. The file that is written holds their names, and no code: :func:`load` asks for them by these names.
    verify
        Check the native results of the recorded cases against float64 before writing.
    keras
        Check against a live Keras of the file's generation too. That imports TensorFlow, which takes seconds and
        gigabytes, so it is not done unasked. Not together with ``inputs`` or ``outputs``.
    precision
        "bfloat16" or "bfloat16x3": what :func:`load` computes the file in, unless it is told otherwise. The file holds the weights as
        they are; the cases are checked in this precision, as far as this machine has it, and may be off by what docs/precision.md says.
        None: what ``src`` says, else "float32".
    max_bytes
        As for :func:`load`; the cases count too.
    isolated
        As for :func:`load`: this process never looks into ``src``. Not together with ``keras``.

    Returns
    -------
    ConversionReport
        What was written, and what it was checked against; printed, it reads as a report.

    Raises
    ------
    VerificationError
        If a result differs; nothing is written then.
    InputError
        If ``dst`` is one of the files read, by whatever name, or cannot be written; the file that was there stands. With
        ``keras``: if no Keras of the file's generation is importable, or ``isolated`` is asked for too. Else as :func:`load`.
    FormatError, UnsupportedError
        As :func:`load`.

    Examples
    --------
    >>> report = fastlstm.convert(fastlstm.demo.MODEL, "sunspots.fastlstm")
    >>> report.parameters, report.checked_against
    (13068, 'float64')
    >>> fastlstm.verify("sunspots.fastlstm").passed
    True
    """
    target = checked(dst, src, architecture)
    refuse_both(keras, isolated)
    if keras and not (inputs is None and outputs is None):
        raise InputError("keras: Keras computes the whole model; leave out keras=, or inputs= and outputs=")
    if precision not in (None, FLOAT32, *REDUCED):
        raise InputError(f"precision: expected {', '.join(map(repr, (FLOAT32, *REDUCED)))} or None, found {precision!r:.60}")
    whole = inputs is None and outputs is None
    with reading(src, architecture, by_name, max_bytes, isolated, pipelines=whole and not keras) as source:
        checked(target, *source.files)
        model = source.model(inputs, outputs, custom_layers, custom_activations, precision)
        cases = record(model)
        results = (*check(model, cases), *around(source.name, model)) if verify else ()
    against = "float64" if verify else "nothing"
    if keras:
        live, file = installed_keras(source.source, model)
        results += check_with_keras(model, file, cases, live)
        against += f" and Keras {live.__version__}"
    wrong = [case for case in results if not case.equal]
    if wrong:
        raise VerificationError(
            f"{source.name}: not converted, {len(wrong)} of {len(results)} cases differ; the worst, {wrong[0].case!r}, "
            f"by {wrong[0].difference:.2e} where {wrong[0].tolerance:.2e} is allowed"
        )
    asked = model.spec.precision if precision is None else precision
    spec = replace(model.executor.spec, functions=functions_of(model.executor.network), precision=asked)
    size = formats.own.write(target, spec, cases, source_sha256=_sha256(source.source))
    return ConversionReport(
        source.name, target, str(model.generation), model.count_params(), size, against, results, asked, model.precision_used
    )


def _sha256(source: formats.Source) -> str:
    """Of the file that a model was read from; nothing where an open h5py.File has it."""
    if source.handle is not None:
        return ""
    digest = hashlib.sha256()
    with source.open() as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True)
class Description:
    """The contents of a file, as ``fastlstm describe`` shows them; made for unsupported files too."""

    source: str
    generation: str
    inputs: tuple[tuple[str, Shape], ...]
    outputs: tuple[tuple[str, Shape | None], ...]
    parameters: int
    layers: tuple[LayerInfo, ...]
    problems: tuple[Problem, ...]
    outline: ModelSpec = field(repr=False)  # the graph of its layers, without weights
    before: tuple[str, ...] = ()  # of a pipeline: what is done before the network
    after: tuple[str, ...] = ()  # ... and after it
    precision: str = FLOAT32  # what it is to be computed in
    precision_used: str = FLOAT32  # ... and what that comes to on this machine
    precision_why: str = ""  # where that is not the same


def describe(
    path: Readable, *, architecture: Any = None, by_name: bool = False, inputs: Names = None, outputs: Names = None,
    custom_layers: Functions | None = None, custom_activations: Functions | None = None, precision: str | None = None,
    max_bytes: int | None = None, isolated: bool | Isolation = False,
) -> Description:  # fmt: skip
    """Describe a file: layers, shapes, parameters, generation, what is unsupported and why, what runs natively.

    Of a model that is unsupported, the shapes that can be told without what stands in the way; None for others. Layers that the outputs
    do not need, such as those of a loss, are left out.

    Parameters
    ----------
    path, architecture, by_name, inputs, outputs, custom_layers, custom_activations, precision, max_bytes, isolated
        As for :func:`load`.

    Returns
    -------
    Description

    Raises
    ------
    FormatError
        If the file is damaged, hostile or of another kind, or takes more than ``max_bytes`` or than there is memory.
    InputError
        If ``path`` or ``architecture`` is nothing that can be read, or a name is none that the model has.

    Examples
    --------
    >>> found = fastlstm.describe(fastlstm.demo.MODEL)
    >>> found.generation, found.parameters, found.problems
    ('Keras 3.15.1 on tensorflow, HDF5 model', 13068, ())
    >>> [(layer.class_name, layer.runs) for layer in found.layers]
    [('InputLayer', 'no work'), ('LSTM', 'native'), ('LSTM', 'native'), ('Dense', 'native')]
    """
    with reading(path, architecture, by_name, max_bytes, isolated, pipelines=True) as source:
        spec = source.cut(inputs, outputs, custom_layers, custom_activations)
        found = description(source.name, spec, source.budget, custom_layers, custom_activations, precision)
        if spec.pipeline is not None:
            starts = (spec.layers[spec.calls[ref.call].layer] for ref in spec.inputs)
            texts = any(layer.config.get("dtype") == STRING for layer in starts)
            found = replace(found, before=tuple(surroundings.before(spec.pipeline, texts)), after=tuple(surroundings.after(spec.pipeline)))
        log_loaded(source, found)
        return found


def description(
    source: str, spec: ModelSpec, budget: Budget, custom_layers: Mapping[str, Callable[..., Any]] | None = None,
    custom_activations: Mapping[str, Callable[..., Any]] | None = None, precision: str | None = None,
) -> Description:  # fmt: skip
    """Describe a file that is read already; see :func:`describe`."""
    context = prepared(spec, source, custom_layers, custom_activations, budget)
    network = root(spec, context)
    context.note(*lacking(context))
    inputs, shown = tuple(zip(spec.input_names, network.input_shapes(), strict=True)), outline(network.model)
    if not context.problems:
        try:
            model: Model[Any] = Model(
                spec, source=source, budget=budget, custom_layers=custom_layers, custom_activations=custom_activations, precision=precision
            )  # fmt: skip
        except UnsupportedError as error:
            context.problems.extend(error.problems)
        else:
            outputs = tuple((info.name, info.shape) for info in model.outputs)
            found = Description(source, str(spec.generation), inputs, outputs, model.count_params(), model.layers, (), shown)
            used, why = model.executor.precision
            return replace(found, precision=precision or spec.precision, precision_used=used, precision_why=why)
    problems = tuple(dict.fromkeys(context.problems))
    troubled = {problem.layer for problem in problems}
    shapes, outputs_known = network.known_shapes()
    layers = tuple(
        LayerInfo(
            layer.path, layer.spec.class_name, shapes.get(layer.path), layer.count_params(), "unsupported" if layer.path in troubled else ""
        )
        for layer in network.listed()
    )
    known = tuple(zip(spec.output_names, outputs_known, strict=True))
    return Description(source, str(spec.generation), inputs, known, network.count_params(), layers, problems, shown)
