"""A row for each operation: its names in every generation, its arguments, and what it means."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

from .meaning import Meaning

#: What node_defs say of dtypes and counts, which their tensors say too.
UNSAID = re.compile(r"^(T[A-Za-z]*|N|Index|out_type|output_type|index_type|num|_.*|dtype|SrcT|DstT|Truncate)$")
#: Arguments of TensorFlow's functions that change no number, or none while they have one of these values.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "name": (), "validate_indices": (), "a_is_sparse": (None, False), "b_is_sparse": (None, False), "conjugate": (None, False),
    "adjoint_a": (None, False), "adjoint_b": (None, False), "output_type": (), "out_type": (), "validate_shape": (),
    "dtype": (None, "float32", "float64"), "data_format": (None, "NHWC", "N...C", "channels_last"), "incompatible_shape_error": (),
    "num_split": (), "message": (), "sparse": (None, False), "ragged": (None,), "initial": (None,), "where": (None,),
    "num": (), "stable": (), "shape": (), "dtype_hint": (), "layout": (None,), "sorted": (), "synchronized": (),
    "keep_dims": (None,), "reduction_indices": (None,), "dim": (None,), "axis_name": (None,), "optimize": (),
}  # fmt: skip


class Signature(NamedTuple):
    """A name of an operation with its arguments: ``"gather(params:x, indices, axis=0; batch_dims)"``.

    Attributes
    ----------
    name
        Of the operation, as one generation has it.
    given
        Its arguments as that generation names them, in order, each with the canonical name.
    attributes
        How many of them come first: those that a node_def gives as inputs, not as attributes.
    defaults
        What that generation takes for arguments that are not given, by canonical name.
    """

    name: str
    given: tuple[tuple[str, str], ...]
    inputs: int
    defaults: Mapping[str, Any]


def literal(text: str) -> Any:
    """A default. By JSON, as nothing is compiled in the process that reads files of strangers."""
    for python, other in (("None", "null"), ("True", "true"), ("False", "false"), ("'", '"')):
        text = text.replace(python, other)
    return json.loads(text)


@cache
def signature(text: str) -> Signature:
    """A signature from its text."""
    found = re.fullmatch(r"([\w.]+)\((.*)\)", text)
    assert found is not None, text
    positional, _, attributes = found[2].partition(";")
    given: list[tuple[str, str]] = []
    defaults: dict[str, Any] = {}
    inputs = 0
    for number, part in enumerate((positional, attributes)):
        for one in re.findall(r"[\w:]+(?:=(?:\[[^]]*\]|[^,]+))?", part):
            names, has_default, default = one.partition("=")
            theirs, _, ours = names.partition(":")
            given.append((theirs, ours or theirs))
            inputs += not number
            if has_default:
                defaults[ours or theirs] = literal(default)
    return Signature(found[1], tuple(given), inputs, defaults)


#: How a generation's arguments, by its own names, become canonical ones, where names alone do not do.
Adapt = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Operation:
    """The facts about one operation.

    Attributes
    ----------
    canonical
        Its name and arguments, as Keras 3's function has them: ``"mean(x, axis=None, keepdims=False)"``.
    meaning
        Shapes, numbers, kernels.
    keras3
        The class of its nodes in Keras 3's graphs, with the defaults of early versions that do not record all.
    functions
        TensorFlow's functions that are it, by tf.keras 2.4 and later, without "tf." and "compat.v1.".
    ops
        TensorFlow's ops that are it, by tf.keras 2.0 to 2.3: inputs; attributes.
    adapt
        By such a name: what makes its arguments canonical.
    gives_back
        Does Keras 3, for these arguments and a tensor of this dtype, give back the very tensor, which keeps its mask?
    """

    canonical: str
    meaning: Meaning
    keras3: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()
    adapt: Mapping[str, Adapt] | None = None
    gives_back: Callable[[Mapping[str, Any], str], bool] | None = None

    @cached_property
    def signature(self) -> Signature:
        """Its canonical signature."""
        return signature(self.canonical)

    @property
    def name(self) -> str:
        """Its canonical name."""
        return self.canonical.partition("(")[0]

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of its arguments, in order."""
        return tuple(ours for _, ours in self.signature.given)

    def bound(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All arguments, those that are not given by their defaults.

        Raises
        ------
        ValueError
            If one is missing or unknown.
        """
        unknown = sorted(set(given) - set(self.arguments))
        if unknown:
            raise ValueError(f"the operation {self.name} has no argument {', '.join(unknown)}")
        found = {**self.signature.defaults, **given}
        missing = [name for name in self.arguments if name not in found]
        if missing:
            raise ValueError(f"the operation {self.name} is not given {', '.join(missing)}")
        return found


def names(value: str | Sequence[str]) -> tuple[str, ...]:
    """One name or several."""
    return (value,) if isinstance(value, str) else tuple(value)


def row(
    canonical: str, meaning: Meaning, *, keras3: str | Sequence[str] = (), tf: str | Sequence[str] = (), op: str | Sequence[str] = (),
    adapt: Mapping[str, Adapt] | None = None, gives_back: Callable[[Mapping[str, Any], str], bool] | None = None,
) -> Operation:  # fmt: skip
    """A row; see :class:`Operation`."""
    return Operation(canonical, meaning, names(keras3), names(tf), names(op), adapt, gives_back)
