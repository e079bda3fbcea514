"""From a file of weights alone to a draft of its model's JSON, in which what nothing tells is marked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import formats
from .errors import Problem, UnsupportedError
from .formats.inferring.drafting import Inferred, inferred
from .formats.inferring.guesses import Guess
from .formats.inferring.writing import as_text, mark_of
from .formats.reading.marks import KEY
from .isolation import Isolation
from .isolation import inventory as read_isolated
from .opening import Readable, reading

ADVICE = "write the architecture by hand or, where the model's code is at hand, save it in Keras with model.to_json()"


@dataclass(frozen=True)
class InferredLayer:
    """A layer of a file of weights, as its names and shapes show it."""

    name: str
    class_name: str  # "" where nothing tells
    reads: int | None  # features
    gives: int | None
    parameters: int
    told: Mapping[str, Any]  # the arguments that the arrays tell
    assumed: Mapping[str, Any]  # the others, as the draft has them; "layer.activation" of the layer inside a wrapper


@dataclass(frozen=True)
class ArchitectureDraft:
    """The result of :func:`fastlstm.draft_architecture`."""

    source: str
    generation: str
    layers: tuple[InferredLayer, ...]
    assumed: tuple[tuple[str, Mapping[str, Any], str], ...]  # (layer, its arguments with the values assumed, why): the draft's marks
    problems: tuple[Problem, ...]  # why there is no draft
    text: str = field(repr=False)  # the draft; "" where there is none

    def to_json(self) -> str:
        """The draft, for ``architecture=``: what it assumes is listed in it, and has to be confirmed first.

        Raises
        ------
        UnsupportedError
            If there is none.
        """
        if self.problems:
            raise UnsupportedError(self.source, self.problems)
        return self.text


def draft_architecture(path: Readable, *, max_bytes: int | None = None, isolated: bool | Isolation = False) -> ArchitectureDraft:
    """Infer the architecture of a file of weights alone, from the names and shapes of its arrays.

    Classes, units, features and the order of layers are told by the arrays. Activations, masks, lengths and what else no array tells are
    assumed as Keras's defaults, and marked: :func:`load` refuses a draft while a mark is left. Only chains of layers are drafted, in
    which each reads what the one before it gives.

    Parameters
    ----------
    path
        The file: what ``save_weights`` of any Keras wrote. A path, or what else :func:`load` takes.
    max_bytes, isolated
        As for :func:`load`.

    Returns
    -------
    ArchitectureDraft
        What is known of each layer, what is assumed and why, and the draft as JSON.

    Raises
    ------
    FormatError
        If the file is damaged, hostile, or holds its architecture itself.

    Examples
    --------
    >>> draft = fastlstm.draft_architecture("weights.h5")  # doctest: +SKIP
    >>> pathlib.Path("model.json").write_text(draft.to_json())  # doctest: +SKIP
    """
    with reading(path, None, False, max_bytes, isolated) as source:
        if source.bounds is None:
            found = inferred(formats.inventory(source.source, source.budget))
        else:
            found = inferred(read_isolated(source.source, source.bounds, source.budget))
        return drafted(source.name, found)


def drafted(source: str, found: Inferred) -> ArchitectureDraft:
    """What is shown of an inferred model."""
    layers = tuple(layers_of(found.chain.layers, ""))
    marks = [] if found.draft is None else [mark for mark in found.draft[KEY] if not isinstance(mark, str)]
    problems = tuple(Problem(layer, kind, what, ADVICE) for layer, kind, what in found.chain.problems)
    assumed = tuple(mark_of(mark) for mark in marks)
    return ArchitectureDraft(
        source, str(found.dialect.generation), layers, assumed, problems, "" if found.draft is None else as_text(found.draft)
    )  # fmt: skip


def layers_of(guesses: list[Guess], prefix: str) -> Iterator[InferredLayer]:
    """The layers, those in models after the model."""
    for guess in guesses:
        told, assumed = arguments(guess, "")
        yield InferredLayer(prefix + guess.name, guess.kind, guess.takes, guess.gives, guess.parameters, told, assumed)
        yield from layers_of(guess.layers, f"{prefix}{guess.name}/")


def arguments(guess: Guess, prefix: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is told of a layer and of those inside it, and what is assumed."""
    told = {prefix + key: value for key, value in guess.config.items() if key not in guess.filled}
    assumed = {prefix + key: one.value for key, one in guess.assumed.items()}
    inside = [("layer.", guess.inner)] if guess.inner is not None else []
    inside += [(f"cells.{number}." if len(guess.cells) > 1 else "cell.", cell) for number, cell in enumerate(guess.cells)]
    for name, inner in inside:
        told[f"{prefix}{name.rstrip('.')}"] = inner.kind
        more, others = arguments(inner, prefix + name)
        told.update(more)
        assumed.update(others)
    return told, assumed
