"""From a spec to the network of its layers: put together, tried out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from . import inputs
from .errors import InputError, Problem, UnsupportedError
from .layers.base import Layer, every_layer
from .layers.matching import lacking, prepared
from .layers.network import Network, root
from .limits import Budget
from .pruning import makes_categories
from .spec import FLOAT32, REDUCED, STRING, ModelSpec, Shape

T = TypeVar("T")

#: What models compute in.
PRECISIONS = (FLOAT32, "float64", *REDUCED)
#: What sizes that a model leaves open are tried as, to see how it runs.
EXAMPLE_SIZES = (16, 64, 256, 1024, 4096)
#: ... and so many of those that the file states.
MOST_SIZES = 32


def checked_options(precision: Any, threads: Any, fold_limit: Any) -> tuple[str, int]:
    """The precision, and the number of threads.

    Raises
    ------
    InputError
        If an option of a model is not what it should be.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision: expected {', '.join(map(repr, PRECISIONS[:-1]))} or {PRECISIONS[-1]!r}, found {precision!r:.60}")
    if isinstance(fold_limit, bool) or not isinstance(fold_limit, (int, np.integer)) or fold_limit < 0:
        raise InputError(f"fold_limit: expected a number of bytes, found {inputs.told(fold_limit)}")
    return precision, inputs.positive(threads, "threads")


def make_network(
    spec: ModelSpec, source: str, custom_layers: Mapping[str, Callable[..., Any]] | None = None,
    custom_activations: Mapping[str, Callable[..., Any]] | None = None, budget: Budget | None = None,
) -> Network:  # fmt: skip
    """The layers of a model.

    Raises
    ------
    UnsupportedError
        With every problem of the model, if there is any.
    InputError
        If a name of the caller's functions does not fit the model, or a function what it is given.
    """
    context = prepared(spec, source, custom_layers, custom_activations, budget)
    network = root(spec, context)
    context.note(*lacking(context), *namesakes(network))
    if context.problems:
        raise UnsupportedError(source, tuple(dict.fromkeys(context.problems)))
    network.rows_together()  # refuses tensors of the file that fit no batch together
    if context.custom_layers or context.custom_activations:
        try_out(network)
    return network


def in_stages(network: Network) -> bool:
    """Does a model read text, or make categories of what it reads? Kernels alone do not compute it then."""
    layers = network.model.layers
    return any(map(makes_categories, layers)) or any(door.declared == STRING for door in network.doors)


def namesakes(network: Network) -> list[Problem]:
    """The stateful layers that share a path, by which states are kept: an "a/b" beside a "b" in a nested model "a"."""
    stateful = [layer for layer in every_layer(network) if layer.stateful]
    uses = Counter(layer.path for layer in stateful)
    what = "it is stateful, and another stateful layer has the same name"
    return [Problem(layer.path, layer.spec.class_name, what, "rename one") for layer in stateful if uses[layer.path] > 1]


def try_out(network: Network) -> None:
    """Compute a few rows, so that a function of the caller's that does not fit says so at once."""
    network.shapes(network.input_shapes(), {})
    vocabularies = network.vocabularies()

    def compute(shapes: tuple[tuple[int, ...], ...]) -> None:
        random = np.random.default_rng(0)
        # Several rows show whether a function mixes them; numbers below 1 are ids of 0 to a layer of the caller's.
        count = 2 * network.rows_together()
        network.context.budget.lend("a trial of the model", count * row_bytes(network, shapes))
        doors = [door.declared for door in network.doors]
        given = [
            tried(layers, (count, *shape), declared, ids, random)
            for layers, shape, declared, ids in zip(network.readers(), shapes, doors, vocabularies, strict=True)
        ]
        network.run(given, np.float32)

    of_example(network, compute)


def tried(readers: Sequence[Layer], size: tuple[int, ...], declared: str, ids: int | None, random: np.random.Generator) -> np.ndarray:
    """An input for a trial: text has words, as without any there are no timesteps."""
    if declared == STRING:
        suiting = (layer.sample(size, random) for layer in readers)
        return next((array for array in suiting if array is not None), np.full(size, b"some Text,", object))
    x = random.random(size, np.float32)
    return x if ids is None else (x * ids).astype(np.int32)


def of_example(network: Network, compute: Callable[[tuple[tuple[int, ...], ...]], T], itemsize: int = 4) -> T | None:
    """Call ``compute`` with shapes (less the batch) that a model takes: larger ones where its windows or functions need them.

    None where sizes left open are not found that go together: as in a sum of a sequence and a longer one, which one step alone fits.
    """
    seen: list[tuple[Shape, ...]] = []
    refused: InputError | None = None
    known = sorted({size for shape in network.input_shapes() for size in shape[1:] if size is not None})
    for size in (*EXAMPLE_SIZES, *known[:MOST_SIZES], 1):  # what one input leaves open may have to be as long as another is
        shapes = network.sized(size)
        if shapes in seen:
            continue
        seen.append(shapes)
        try:
            if network.fitting_size([size]) is not None:
                found = tuple(tuple(n or 1 for n in shape[1:]) for shape in shapes)
                network.context.budget.lend(f"one row of input of shape {told(found)}", row_bytes(network, found, itemsize))
                return compute(found)
        except InputError as error:
            refused = refused or error
    if refused is not None:
        raise refused
    return None


def row_bytes(network: Network, shapes: Sequence[tuple[int, ...]], itemsize: int = 4) -> int:
    """Bytes that NumPy takes to compute a row of inputs of such shapes (less the batch), about."""
    given = [(None, *shape) for shape in shapes]
    return itemsize * network.row_numbers(given, {}, network.shapes(given, {}))


def told(shapes: Sequence[tuple[int, ...]]) -> str:
    """Shapes of inputs, for a message."""
    more = f" and {len(shapes) - 4} others" if len(shapes) > 4 else ""
    return " and ".join(map(str, shapes[:4])) + more
