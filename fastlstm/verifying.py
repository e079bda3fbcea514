"""The cases that a converted file carries, run again; and a file of Keras beside a live Keras."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from . import formats, lazy
from .errors import FormatError, InputError
from .isolation import Isolation, bounds_of
from .model import Model
from .opening import Readable, Reading, reading
from .selftest import Comparison, check, check_with_keras, own_keras, record

if TYPE_CHECKING:
    from . import examples, surroundings
else:
    examples, surroundings = lazy.module("fastlstm.examples"), lazy.module("fastlstm.surroundings")


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
    with reading(path, architecture, False, max_bytes, isolated, pipelines=True) as source:
        model = source.model(custom_layers=custom_layers, custom_activations=custom_activations)
        return verification(source, model, keras=keras)


def refuse_both(keras: bool, isolated: bool | Isolation) -> None:
    """A live Keras reads the file in this process."""
    if keras and bounds_of(isolated) is not None:
        raise InputError("keras: Keras reads the file in this process, which isolated is to prevent; leave one of them out")


def verification(source: Reading, model: Model, *, keras: bool = False) -> Verification:
    """Verify a file that is loaded already; see :func:`verify`."""
    converted = formats.own.is_own(source.source)
    cases, altered = source.cases() if converted else (record(model), ())
    results = check(model, cases) + around(source.name, model)
    report = Verification(source.name, "recorded" if converted else "float64", altered, results)
    if not keras:
        return report
    if converted:
        raise InputError(f"keras: {source.name} is a .fastlstm file, which Keras does not read; verify the file it was converted from")
    live, file = installed_keras(source.source, model)
    return replace(report, keras=check_with_keras(model, file, cases, live), keras_version=live.__version__)


def around(name: str, model: Model) -> tuple[Comparison, ...]:
    """How the recorded example of a pipeline came out, where there is one."""
    pipeline = model.spec.pipeline
    if pipeline is None:
        return ()
    try:
        return examples.check(surroundings.Surroundings(pipeline, model.inputs, model.outputs))
    except InputError as error:
        raise FormatError(f"{name}: the pipeline in it does not fit its model or its example: {error}") from error


def installed_keras(source: formats.Source, model: Model) -> tuple[Any, str]:
    """A Keras of the file's generation, and the path that it is to load."""
    file = source.origin or source.path
    if file is None:
        raise InputError(f"keras: {source.name} is no path, and Keras loads models from paths; pass the path of the file")
    live = own_keras(model)
    if live is None:
        raise InputError(
            f"keras: no Keras of the generation of {source.name} ({model.generation}) can be imported; verify it where that is installed"
        )
    return live, file
