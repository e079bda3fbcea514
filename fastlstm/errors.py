"""The errors that fastlstm raises. All derive from :class:`FastLSTMError`."""

from __future__ import annotations

from typing import NamedTuple

#: Problems that a message tells.
MOST_LISTED = 200


class Problem(NamedTuple):
    """One reason why a model cannot be computed, and what the user can do about it."""

    layer: str  # name of the layer in the file, nested models as "outer/inner"; "" for the model itself
    class_name: str  # its Keras class; "" for the model itself
    what: str  # what stands in the way
    advice: str = ""  # what would help

    def __str__(self) -> str:
        place = f"layer {self.layer!r} ({self.class_name}): " if self.layer else ""
        return place + self.what + (f"; {self.advice}" if self.advice else "")


class FastLSTMError(Exception):
    """Base class of every error that fastlstm raises on purpose."""


class FormatError(FastLSTMError):
    """The file is damaged, hostile, or not of a kind that fastlstm reads."""


class WeightsAloneError(FormatError):
    """The file holds weights alone, and no architecture was given: what :func:`fastlstm.draft_architecture` is for."""


class UnsupportedError(FastLSTMError):
    """The file is sound, but holds something that fastlstm does not compute.

    Attributes
    ----------
    problems : tuple of Problem
        Every problem of the file, not just the first, and also those that are too many for the message.

    Examples
    --------
    >>> problem = fastlstm.Problem("last_step", "Lambda", "its code is not executed", "supply it as custom_layers={'last_step': f}")
    >>> print(fastlstm.UnsupportedError("model.h5", (problem,)))
    model.h5: cannot be computed as Keras would (1 problem):
      - layer 'last_step' (Lambda): its code is not executed; supply it as custom_layers={'last_step': f}
    """

    def __init__(self, source: str, problems: tuple[Problem, ...]):
        self.source = source
        self.problems = tuple(problems)
        lines = "".join(f"\n  - {problem}" for problem in self.problems[:MOST_LISTED])
        if len(self.problems) > MOST_LISTED:
            lines += f"\n  - {len(self.problems) - MOST_LISTED} more"
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        super().__init__(f"{source}: cannot be computed as Keras would ({count}):{lines}")

    def __reduce__(self) -> tuple[type[UnsupportedError], tuple[str, tuple[Problem, ...]]]:
        return type(self), (self.source, self.problems)


class InputError(FastLSTMError, ValueError):
    """An argument does not fit: its message names the argument, what was expected and what was found."""


class SuppliedError(InputError):
    """A function that the caller supplied for a layer raised something, or returned what it should not."""


class KernelError(FastLSTMError):
    """The kernels asked for by ``FASTLSTM_KERNELS`` cannot run on this machine or are not installed.

    Or: a model's kernels were about to be called with what does not fit them. That is a bug of this library, whatever the file says,
    and nothing has been computed.
    """


class VerificationError(FastLSTMError):
    """A converted file does not reproduce the cases recorded in it."""
