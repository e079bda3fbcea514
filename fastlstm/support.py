"""What a function of the caller's says of itself: the decorator ``fastlstm.supports``, and how it is read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from .errors import InputError

Function = TypeVar("Function", bound=Callable[..., Any])
#: The attribute of a function that says what it supports.
ATTRIBUTE = "__fastlstm_supports__"
#: What a function may say of masks in a word.
MASKS = ("none", "passes")


@dataclass(frozen=True)
class Support:
    """What a function supports; see :func:`supports`."""

    streaming: bool = False
    masks: str | Callable[..., Any] = "none"
    output_shape: Any = None
    state_size: Any = None


def supports(
    *, streaming: bool = False, masks: str | Callable[..., Any] = "none",
    output_shape: Sequence[Any] | Callable[..., Any] | None = None, state_size: int | Sequence[int] | Callable[..., Any] | None = None,
) -> Callable[[Function], Function]:  # fmt: skip
    """Say what a function given as one of ``custom_layers`` supports. A decorator, which gives the function back as it is.

    Parameters
    ----------
    streaming
        Each timestep of its output depends on that timestep of its inputs alone, and, where it has ``states``, on them: it runs
        in a Stream.
    masks
        "passes": its n-th output has the mask of its n-th input, as in a Keras layer with ``supports_masking``. "none": its outputs
        have no masks. Or Keras's ``compute_mask``: a function that is given what the function is given, ``mask`` among it if it
        asks for it, and returns the mask of the output, bool (batch, timesteps), or None; a list of them for several outputs.
    output_shape
        The shape of its output, batch first, None where a size is not known; a list of shapes for several outputs; or a function
        of the shapes of its inputs (and of ``config`` and ``weights``, if it asks for them) that returns that. Without it the
        function is tried on zeros.
    state_size
        Of a cell, or of a layer whose function has ``states``: the size of its state, or a list of the sizes of several; or a function
        ``(config, weights)`` of those two, or of one of them, that returns that. Without it the function is tried on zeros.

    Returns
    -------
    callable
        The decorator.

    Raises
    ------
    InputError
        If an argument is none of these, or what is decorated is no function of one's own.

    Examples
    --------
    >>> @fastlstm.supports(masks="passes", streaming=True, output_shape=lambda shape: shape)
    ... def scale(x, weights):
    ...     return x * weights[0]
    >>> functions = {"Scale": scale}  # for load(..., custom_layers=functions)
    """
    if not isinstance(streaming, bool):
        raise InputError(f"streaming: expected True or False, found {streaming!r:.60}")
    if not (callable(masks) or (isinstance(masks, str) and masks in MASKS)):
        raise InputError(f"masks: expected 'passes', 'none' or a function, found {masks!r:.60}")
    if not (output_shape is None or callable(output_shape) or shapes_of(output_shape)):
        raise InputError(f"output_shape: expected a shape, a list of shapes or a function, found {output_shape!r:.60}")
    if not (state_size is None or callable(state_size) or sizes_of(state_size)):
        raise InputError(f"state_size: expected a size, a list of sizes or a function, found {state_size!r:.60}")
    said = Support(streaming, masks, output_shape, state_size)

    def decorate(function: Function) -> Function:
        wanted = "expected a function of your own; define one that calls it"
        if "numpy" in {package_of(function), package_of(type(function))}:  # others use it too
            raise InputError(f"supports: {function!r:.60} is NumPy's; {wanted}")
        try:
            setattr(function, ATTRIBUTE, said)
        except (AttributeError, TypeError) as error:
            raise InputError(f"supports: {function!r:.60} takes no attributes; {wanted}") from error
        return function

    return decorate


def package_of(thing: Any) -> str:
    """The package that something was defined in."""
    return str(getattr(thing, "__module__", "")).partition(".")[0]


def support_of(function: Callable[..., Any]) -> Support:
    """What a function says of itself: nothing, unless it was decorated."""
    said = getattr(function, ATTRIBUTE, None)
    return said if isinstance(said, Support) else Support()


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a function has a parameter of this name."""
    try:
        found = inspect.signature(function).parameters.get(name)
    except (TypeError, ValueError):  # some of NumPy's own tell nothing of themselves
        return False
    return found is not None and found.kind in (found.POSITIONAL_OR_KEYWORD, found.KEYWORD_ONLY)


def is_size(value: Any) -> bool:
    """Whether this is a number of units."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value > 0)


def sizes_of(value: Any) -> tuple[int, ...] | None:
    """The sizes of states that a caller gave, one or several; None if they are none."""
    found = (value,) if is_size(value) else tuple(value) if isinstance(value, (list, tuple)) else ()
    return tuple(map(int, found)) if found and all(map(is_size, found)) else None


def is_shape(value: Any) -> bool:
    """Whether this is the shape of an output, batch first, that a caller gave."""
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(size is None or is_size(size) for size in value)


def shapes_of(value: Any) -> tuple[tuple[int | None, ...], ...] | None:
    """The shapes that a caller gave, one or several; None if they are none."""
    if is_shape(value):
        return (tuple(None if size is None else int(size) for size in value),)
    if isinstance(value, (list, tuple)) and value and all(map(is_shape, value)):
        return tuple(shape for one in value for shape in shapes_of(one) or ())
    return None
