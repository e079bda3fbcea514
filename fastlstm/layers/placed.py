"""A function of the caller's in its place in a model: with the config and the arrays that the file holds for it there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..catalogue import Role, row_of
from ..errors import InputError
from ..limits import Budget
from ..spec import LayerSpec
from ..support import sizes_of, takes
from .supplied import Supplied

#: The names by which functions ask for what the file holds for them.
FROM_FILE = ("config", "weights")
#: Sizes of states that are tried, and how many states of one size.
MOST_SIZES, MOST_STATES = 24, 4
#: ... the largest.
LARGEST_SIZE = 1 << 20
#: Rows of a trial of states.
ROWS = 2
#: What to do about states that are not found out.
SAY_STATES = "say the sizes of its states: @fastlstm.supports(state_size=[...])"


class Placed:
    """A function that stands for a layer, with what the file holds for it.

    Attributes
    ----------
    supplied : Supplied
        The function.
    place : str
        The file and the layer, for errors.
    config, weights
        Those of the layer and of all that it wraps; the arrays are read-only.
    """

    def __init__(self, spec: LayerSpec, source: str, path: str, supplied: Supplied):
        self.supplied = supplied
        self.support = supplied.support
        self.path = path
        self.place = f"{source}: layer {path!r} ({spec.class_name})"
        self.weights = tuple(map(read_only, arrays_in(spec)))
        self.config = config_of(spec)
        self._extras = self.from_file(supplied.function)

    def from_file(self, function: Callable[..., Any]) -> dict[str, Any]:
        """Those of the config and the arrays that a function asks for."""
        return {name: getattr(self, name) for name in FROM_FILE if takes(function, name)}

    def error(self, what: str) -> InputError:
        """An error that names file, layer and function."""
        return self.supplied.error(self.place, what)

    def returned(self, given: Sequence[Any], words: Mapping[str, Any] | None = None) -> Any:
        """What the function returns for some arrays and words."""
        return self.supplied.returned(self.place, given, {**self._extras, **(words or {})})

    def asked(self, function: Callable[..., Any], given: Sequence[Any], words: Mapping[str, Any] | None = None) -> Any:
        """What a function that belongs to it, as one of the shapes of its outputs, returns."""
        return self.supplied.returned(self.place, given, {**self.from_file(function), **(words or {})}, function)

    def arrays(self, found: Any, dtype: Any, rows: int, given: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Arrays that it returned when it was given so many rows."""
        outputs = self.supplied.arrays(self.place, found, dtype)
        for output in outputs:
            if output.shape[:1] != (rows,):
                raise self.error(
                    f"was called with {rows} rows ({', '.join(str(array.shape) for array in given)}) and returned an array of shape "
                    f"{output.shape}; expected a row for each: ({rows}, ...)"
                )
        return outputs

    def pair(self, found: Any, dtype: Any, states: Sequence[np.ndarray]) -> tuple[Any, tuple[np.ndarray, ...]]:
        """The output and the new states in what it returned when it was given states.

        Raises
        ------
        InputError
            If there are others than it was given.
        """
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise self.error(f"returned {type(found).__name__}; expected its output and its states: return y, [h]")
        output, after = found
        new = self.supplied.arrays(self.place, after, dtype)
        if [state.shape for state in new] != [state.shape for state in states]:
            told, wanted = ([state.shape for state in some] for some in (new, states))
            raise self.error(f"was given states of shapes {wanted} and returned {told}; expected the same; {SAY_STATES}")
        return output, new

    # -- sizes of states --------------------------------------------------------------------------------------------------

    def declared_sizes(self) -> tuple[int, ...] | None:
        """The sizes of its states as it says them; None if it does not."""
        said = self.support.state_size
        if said is None:
            return None
        found = sizes_of(self.asked(said, ()) if callable(said) else said)
        if found is None:
            raise self.error("says by state_size no sizes of states; expected a number of units, or a list of them")
        return found

    def sizes_without_trial(self) -> tuple[int, ...]:
        """The sizes that it says, where it has not been tried yet."""
        found = self.declared_sizes()
        if found is None:
            raise self.error(f"is asked for its states before the shapes of its inputs are known; {SAY_STATES}")
        return found

    def tried_sizes(self, features: int, budget: Budget, attempt: Callable[[tuple[int, ...]], Any]) -> tuple[tuple[int, ...], Any]:
        """The sizes of states which the function gives back as they are, and what ``attempt`` says of them.

        Tried are numbers of units that its config, its arrays and its input name. Such sizes are right: whatever a function makes of
        its states, the states that it starts from have the sizes of those that it returns.

        Raises
        ------
        InputError
            If there are none.
        """
        known = self.declared_sizes()
        if known is not None:
            self._account(features, sum(known), budget)
            return known, attempt(known)
        first: InputError | None = None
        for count in range(1, MOST_STATES + 1):
            for size in self._likely(features):
                self._account(features, count * size, budget)
                try:
                    return (size,) * count, attempt((size,) * count)
                except InputError as error:
                    first = first or error
        raise self.error(f"was tried with states of several sizes, and took none; {SAY_STATES}; the first trial: {first}") from first

    def _account(self, features: int, units: int, budget: Budget) -> None:
        """Account for a trial: the arrays, and the copies that the function gets and gives."""
        budget.lend(f"layer {self.path!r}: a trial of {self.supplied.said}", 3 * 4 * ROWS * (features + units))

    def _likely(self, features: int) -> list[int]:
        """Sizes that its states may have, the likeliest first."""
        named = [self.config.get("units"), *(size for array in self.weights for size in array.shape[::-1]), features, *self.config.values()]
        sizes = dict.fromkeys(size for one in named for size in sizes_of(one) or () if size <= LARGEST_SIZE)
        return list(sizes)[:MOST_SIZES]


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written to."""
    view = array.view()
    view.setflags(write=False)
    return view


def arrays_in(spec: LayerSpec) -> Iterator[np.ndarray]:
    """The arrays of a layer and of all that it wraps, in order."""
    yield from spec.weights
    for inner in [*spec.children, *(spec.model.layers if spec.model is not None else ())]:
        yield from arrays_in(inner)


def config_of(spec: LayerSpec) -> dict[str, Any]:
    """A layer's config with those of the layers that it wraps, under Keras's names."""

    def entry(inner: LayerSpec) -> dict[str, Any]:
        return {"class_name": inner.class_name, "config": config_of(inner)}

    config, row = dict(spec.config), row_of(spec.class_name)
    if spec.model is not None:
        config["layers"] = [entry(inner) for inner in spec.model.layers]
    elif row.role is Role.STACK:
        config["cells"] = [entry(inner) for inner in spec.children]
    else:
        names = row.wraps if len(row.wraps) == 1 else ("layer", "backward_layer")
        config |= {name: entry(inner) for name, inner in zip(names, spec.children, strict=False)}
    return config
