"""From a path to a Model, from file to file, and what a file holds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from . import formats, isolation
from .cutting import cut
from .errors import InputError, Problem, UnsupportedError, VerificationError
from .executor import FOLD_LIMIT
from .inputs import positive
from .isolation import Isolation
from .layers import prepared
from .layers.matching import functions_of, lacking
from .layers.network import root
from .limits import Budget
from .listing import LayerInfo
from .model import Model
from .replacing import checked
from .selftest import Comparison, check, check_with_keras, own_keras, record
from .spec import Case, ModelSpec, Shape

PathLike = str | os.PathLike[str]
#: What a model is read from: a path, bytes, a file opened with "rb" or an h5py.File (of which mypy need not know).
Readable = PathLike | bytes | bytearray | memoryview | BinaryIO | Any
#: Names of tensors of a model.
Names = str | Sequence[str] | None
Functions = Mapping[str, Callable[..., Any]]


def load(
    path: Readable, *, architecture: Any = None, by_name: bool = False, inputs: Names = None, outputs: Names = None, threads: int = 1,
    precision: str = "float32", custom_layers: Mapping[str, Callable[..., Any]] | None = None,
    custom_activations: Mapping[str, Callable[..., Any]] | None = None, verify: bool = False, fold_limit: int = FOLD_LIMIT,
    max_bytes: int | None = None,
    isolated: bool | Isolation = False,
) -> Model:  # fmt: skip
    """Load a model that Keras saved, or one that :func:`convert` wrote.

    Parameters
    ----------
    path
        A whole model, ``.h5``, ``.keras`` or the folder of ``save(zipped=False)``; weights alone, ``.h5``, ``.weights.h5`` or
        ``.weights.json`` with its parts beside it (with ``architecture``); or a ``.fastlstm`` file. Its path, its bytes, a file
        opened with "rb" (read whole, from its start), or an h5py.File; a folder or parts by their path alone. Known by its bytes,
        whatever its name.
    architecture
        For weights-only files: what ``model.to_json()`` gave, as a string, a path to it, or a dict; or what ``model.to_yaml()``
        gave, with PyYAML (``pip install "fastlstm[yaml]"``). For a whole-model ``.h5``: what to read in place of the model's own.
    by_name
        ``.h5``: match layers and their weights by name instead of by order.
    inputs, outputs
        A part of the model: the tensors that it begins and ends at, by the names of layers: "dense", "encoder/lstm" in a nested
        model, "lstm:1" for an output other than the first. With ``outputs`` alone it asks for those inputs that it needs. A
        layer that is used more than once: its last use; a nested model that is, or that holds all that is named: the model
        itself. A tensor that becomes an input has no mask; where it had one that is read, it is refused.
    threads
        So many threads share a call: its rows, or where those are few and weights large, the units of its recurrent layers.
        Results do not depend on it.
    precision
        "float32", or "float64" to compute everything in NumPy in float64.
    custom_layers
        Functions of NumPy arrays, for layers that fastlstm does not know or in place of those that it does: by a layer's own
        name ("encoder/attention" in a nested model), by the name that its class is registered by ("my_package>Attention2"),
        or by its class ("Attention2"), the first that fits. ``function(*inputs, **tensors[, mask][, states][, config][, weights])``
        gets the arrays that go in, batch first, each as an argument of its own; call arguments that are tensors, by their
        names; and, if it has parameters of these names: the layer's ``config`` and its arrays, ``weights``, which are
        read-only; ``mask``, that of its input (a list, of several), bool (batch, timesteps) or None; ``states``, a list of what it
        carries along timesteps, and then it returns ``y, states``. It returns an array of numbers, or a tuple of them, batch first, and
        computes every row by itself, for any number of rows. A cell inside RNN or StackedRNNCells is
        ``function(x, states[, config][, weights])`` of one timestep, which returns ``y, states``. :func:`fastlstm.supports` says what
        a function supports: streams, masks of its output. What stands directly in Bidirectional cannot be supplied by itself; that
        can, as a whole. See docs/tutorials/custom-layers.md.
    custom_activations
        Functions of a NumPy array, by the name that they are registered by ("my_package>wobble"), by their plain name
        ("wobble"), or by their place ("lstm:recurrent_activation", or "encoder/lstm:activation" in a nested model):
        ``function(x[, config])`` returns an array of the shape of ``x``; ``config`` holds the parameters of an activation
        that the file keeps as an object.
    verify
        Rerun the cases recorded in a ``.fastlstm`` file; a file of Keras has none: check new ones against float64.
    fold_limit
        Bytes that an Embedding folded into the next layer as a table may take; less where ``max_bytes`` leaves less.
    max_bytes
        Bytes of memory that loading may take, for its text, for its arrays as they are stored, converted and packed, and for one row
        of the smallest input that the model takes; None: 1 GiB, or 16 times the file's size if that is more. What a file asks for
        is compared with it before it is allocated. More is for those who trust the file. Other limits stand: models, wrappers and
        cells are nested up to 40 deep; layers are used up to 20,000 times, each in a nested model counted for every use of
        that, or as often as they stand in the file if that is more.
    isolated
        For files of strangers: read the file in a process of its own, which is given its bytes alone, opens nothing, and may take
        10 seconds of CPU and 2 GB of memory, or what a :class:`fastlstm.Isolation` says. What is read is the same. Costs the start
        of a Python. An h5py.File, which this process has open already, is refused.

    Returns
    -------
    Model

    Raises
    ------
    FormatError
        If the file is damaged, hostile or of another kind, or takes more than ``max_bytes`` or than there is memory; with
        ``isolated``, if reading it crashes or takes more than it may.
    UnsupportedError
        If it holds something that would not be computed as Keras does; lists everything at once.
    InputError
        If an argument does not fit: ``path`` is nothing that can be read; a name is none that the model has, or may mean several
        things in it; a function of the caller's raises something on a trial, or returns anything but what it should.
    VerificationError
        With ``verify``: if a case comes out differently than recorded (or than in float64), or the file was altered.

    Examples
    --------
    >>> import fastlstm.demo
    >>> model = fastlstm.load(fastlstm.demo.MODEL)
    >>> model.input_shape, model.output_shape
    ((None, None, 1), (None, 12))
    >>> fastlstm.load(fastlstm.demo.MODEL, outputs=["lstm_1"]).output_shape  # a part of it
    (None, 32)
    """
    with reading(path, architecture, by_name, max_bytes, isolated) as source:
        spec = source.cut(inputs, outputs, custom_layers, custom_activations)
        model = Model(
            spec, source=source.name, threads=threads, precision=precision, fold_limit=fold_limit,
            custom_layers=custom_layers, custom_activations=custom_activations, budget=source.budget,
        )  # fmt: skip
        if verify:
            if not (inputs is None and outputs is None):
                raise InputError("verify: a model cut by inputs= or outputs= has no recorded cases; load it whole to verify it")
            report = verification(source, model)
            if not report.passed:
                raise VerificationError(str(report))
    return model


@dataclass(frozen=True)
class Reading:
    """A file that is read: here or, within ``bounds``, in a process of its own; all that comes of it within one budget."""

    source: formats.Source
    budget: Budget
    bounds: Isolation | None
    architecture: Any
    by_name: bool
    files: tuple[str, ...] = ()  # the files that it was gathered from

    @property
    def name(self) -> str:
        """The file, for messages."""
        return self.source.name

    def spec(self) -> ModelSpec:
        """Read the model that the file describes."""
        if self.bounds is None:
            return formats.read(self.source, architecture=self.architecture, by_name=self.by_name, budget=self.budget)
        return isolation.read(self.source, self.bounds, self.budget, architecture=self.architecture, by_name=self.by_name)

    def cut(
        self, inputs: Names, outputs: Names, custom_layers: Functions | None = None, custom_activations: Functions | None = None
    ) -> ModelSpec:  # fmt: skip
        """The part of it that leads from some tensors to others."""
        spec, functions = self.spec(), {"custom_layers": custom_layers, "custom_activations": custom_activations}
        return cut(spec, self.name, inputs, outputs, budget=self.budget, **functions)

    def model(
        self, inputs: Names = None, outputs: Names = None, custom_layers: Functions | None = None,
        custom_activations: Functions | None = None,
    ) -> Model:  # fmt: skip
        """The model, with all that :func:`load` takes for granted."""
        return Model(
            self.cut(inputs, outputs, custom_layers, custom_activations), source=self.name, budget=self.budget,
            custom_layers=custom_layers, custom_activations=custom_activations,
        )  # fmt: skip

    def cases(self) -> tuple[tuple[Case, ...], tuple[str, ...]]:
        """The cases in a ``.fastlstm`` file, and its arrays that were altered."""
        if self.bounds is None:
            return formats.own.read_cases(self.source, self.budget)
        return isolation.read_cases(self.source, self.bounds, self.budget)


@contextmanager
def reading(
    path: Readable, architecture: Any, by_name: bool, max_bytes: int | None, isolated: bool | Isolation
) -> Iterator[Reading]:  # fmt: skip
    """A file that is to be read as the caller's arguments say."""
    source, bounds = formats.source_of(path), isolation.bounds_of(isolated)
    most = None if max_bytes is None else positive(max_bytes, "max_bytes", expected="a positive number of bytes or None")
    with Budget(source.name, source.size, most) as budget:
        yield Reading(source.gathered(budget), budget, bounds, architecture, by_name, tuple(source.files.values()))


@dataclass(frozen=True)
class Verification:
    """The result of :func:`fastlstm.verify`."""

    source: str
    against: str  # "recorded", the cases in the file itself; "float64", new ones
    altered: tuple[str, ...]  # arrays whose checksum is not the recorded one
    recorded: tuple[Comparison, ...]
    keras: tuple[Comparison, ...] = ()
    keras_version: str = ""

    @property
    def passed(self) -> bool:
        """Did everything come out as it should?"""
        return not self.altered and all(case.equal for case in (*self.recorded, *self.keras))

    def __str__(self) -> str:
        lines = [f"{self.source}: {'verified' if self.passed else 'NOT equal'}"]
        lines += [f"  altered since it was converted: {name}" for name in self.altered]
        for title, cases in ((self.against, self.recorded), (f"Keras {self.keras_version}", self.keras)):
            for case in cases:
                word = "equal" if case.equal else "DIFFERENT"
                lines.append(f"  {title:12} {case.case:19} {word:9} largest difference {case.difference:.2e}, allowed {case.tolerance:.2e}")
        return "\n".join(lines)


def verify(
    path: Readable, *, architecture: Any = None, keras: bool = False, max_bytes: int | None = None, isolated: bool | Isolation = False,
    custom_layers: Mapping[str, Callable[..., Any]] | None = None, custom_activations: Mapping[str, Callable[..., Any]] | None = None,
) -> Verification:  # fmt: skip
    """Rerun the cases of a converted file; with ``keras``, compare a Keras file with a live Keras of its generation.

    A Keras file has no recorded cases: new ones are made and its native results compared with float64.

    Parameters
    ----------
    path, architecture
        As for :func:`load`.
    keras
        Compare with Keras too; one of the file's generation must be importable.
    max_bytes
        As for :func:`load`; the cases count too.
    isolated
        As for :func:`load`; not together with ``keras``.
    custom_layers, custom_activations
        As for :func:`load`. A live Keras computes with classes and functions of its own, which this process has registered with it.

    Returns
    -------
    Verification
        Case by case; printed, it reads as a report.

    Raises
    ------
    InputError
        With ``keras``: if no Keras of the file's generation is importable, the file is not one that Keras reads, or ``isolated`` is
        asked for as well. Else as :func:`load`.
    FormatError, UnsupportedError
        As :func:`load`.

    Examples
    --------
    >>> report = fastlstm.verify(fastlstm.demo.MODEL)  # a file of Keras: its kernels against float64
    >>> report.passed, report.against
    (True, 'float64')
    """
    refuse_both(keras, isolated)
    with reading(path, architecture, False, max_bytes, isolated) as source:
        model = source.model(custom_layers=custom_layers, custom_activations=custom_activations)
        return verification(source, model, keras=keras)


def refuse_both(keras: bool, isolated: bool | Isolation) -> None:
    """A live Keras reads the file in this process."""
    if keras and isolation.bounds_of(isolated) is not None:
        raise InputError("keras: Keras reads the file in this process, which isolated is to prevent; leave one of them out")


def verification(source: Reading, model: Model, *, keras: bool = False) -> Verification:
    """Verify a file that is loaded already; see :func:`verify`."""
    converted = formats.own.is_own(source.source)
    cases, altered = source.cases() if converted else (record(model), ())
    report = Verification(source.name, "recorded" if converted else "float64", altered, check(model, cases))
    if not keras:
        return report
    if converted:
        raise InputError(f"keras: {source.name} is a .fastlstm file, which Keras does not read; verify the file it was converted from")
    live, file = installed_keras(source.source, model)
    return replace(report, keras=check_with_keras(model, file, cases, live), keras_version=live.__version__)


def installed_keras(source: formats.Source, model: Model) -> tuple[Any, str]:
    """A Keras of the file's generation, and the path that it is to load."""
    file = source.origin or source.path
    if file is None:
        raise InputError(f"keras: {source.name} is no path, and Keras loads models from paths; pass the path of the file")
    live = own_keras(model)
    if live is None:
        raise InputError(f"keras: no Keras of the generation of {source.name} ({model.generation}) can be imported")
    return live, file


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

    def __str__(self) -> str:
        worst = max((case.difference for case in self.cases), default=0.0)
        return (
            f"{self.source} -> {self.target}: {self.generation}; {self.parameters:,} parameters, {self.bytes:,} bytes; "
            f"{len(self.cases)} recorded cases checked against {self.checked_against}, largest difference {worst:.2e}"
        )


def convert(
    src: Readable, dst: PathLike, *, architecture: Any = None, by_name: bool = False, inputs: Names = None, outputs: Names = None,
    custom_layers: Functions | None = None, custom_activations: Functions | None = None, verify: bool = True, keras: bool = False,
    max_bytes: int | None = None, isolated: bool | Isolation = False,
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
    with reading(src, architecture, by_name, max_bytes, isolated) as source:
        checked(target, *source.files)
        model = source.model(inputs, outputs, custom_layers, custom_activations)
        cases = record(model)
        results = check(model, cases) if verify else ()
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
    spec = replace(model.executor.spec, functions=functions_of(model.executor.network))
    size = formats.own.write(target, spec, cases, source_sha256=_sha256(source.source))
    return ConversionReport(source.name, target, str(model.generation), model.count_params(), size, against, results)


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


def describe(
    path: Readable, *, architecture: Any = None, by_name: bool = False, inputs: Names = None, outputs: Names = None,
    custom_layers: Functions | None = None, custom_activations: Functions | None = None, max_bytes: int | None = None,
    isolated: bool | Isolation = False,
) -> Description:  # fmt: skip
    """Describe a file: layers, shapes, parameters, generation, what is unsupported and why, what runs natively.

    Of a model that is unsupported, the shapes that can be told without what stands in the way; None for others. Layers that the outputs
    do not need, such as those of a loss, are left out.

    Parameters
    ----------
    path, architecture, by_name, inputs, outputs, custom_layers, custom_activations, max_bytes, isolated
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
    with reading(path, architecture, by_name, max_bytes, isolated) as source:
        spec = source.cut(inputs, outputs, custom_layers, custom_activations)
        return description(source.name, spec, source.budget, custom_layers, custom_activations)


def description(
    source: str, spec: ModelSpec, budget: Budget, custom_layers: Mapping[str, Callable[..., Any]] | None = None,
    custom_activations: Mapping[str, Callable[..., Any]] | None = None,
) -> Description:  # fmt: skip
    """Describe a file that is read already; see :func:`describe`."""
    context = prepared(spec, source, custom_layers, custom_activations, budget)
    network = root(spec, context)
    context.note(*lacking(context))
    inputs = tuple(zip(spec.input_names, network.input_shapes(), strict=True))
    if not context.problems:
        try:
            model = Model(spec, source=source, budget=budget, custom_layers=custom_layers, custom_activations=custom_activations)
        except UnsupportedError as error:
            context.problems.extend(error.problems)
        else:
            outputs = tuple((info.name, info.shape) for info in model.outputs)
            return Description(source, str(spec.generation), inputs, outputs, model.count_params(), model.layers, ())
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
    return Description(source, str(spec.generation), inputs, known, network.count_params(), layers, problems)
