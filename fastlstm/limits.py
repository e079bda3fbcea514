"""Limits of what loading a file may cost: bytes, visits and depth, each bounded in this one place.

Files come from anywhere, and a small one can ask for a lot: zeros that unpack a thousandfold, a layer that repeats a step a billion times,
models that call each other twice forty levels deep. Whatever a file asks for is accounted for here before it is allocated or walked.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from .errors import FormatError
from .spec import UNLIMITED, LayerSpec, ModelSpec

#: Bytes that loading any file may take unless the caller says otherwise; a larger file may take SPREAD times its own size.
FREE_BYTES = 1 << 30
SPREAD = 16
#: Uses of layers, counting those in a nested model once for each use of the model, beyond those that stand in the file one by one.
VISITS = 20_000
#: Characters of a config that one layer takes at least: {"class_name":"A"}.
LEAST_ENTRY = 16
#: How deep models, wrappers and cells may be nested; and lists and objects in JSON, of which each of those takes some.
DEPTH = 40
JSON_DEPTH = 10 * DEPTH
#: Call arguments are lists of tensors, perhaps of states of cells of directions.
ARGUMENT_DEPTH = 16
#: Characters in the name of a layer, which is a part of the path of all that is in it.
NAME = 4096
#: How deep groups of HDF5 may be nested: two for each model or wrapper, and some around them.
GROUP_DEPTH = 3 * DEPTH
#: Characters of one JSON text.
TEXT = 64 << 20
#: What Python takes for what JSON holds, in bytes: for a list or object, a key with its value, an element; and a character, with what
#: looking for brackets takes.
JSON_COSTS = {"[": 72, "{": 72, ":": 160, ",": 40}
CHARACTER = 12
#: How often the path of a layer is kept, about.
PATHS = 8
#: Bytes that a process can address.
ADDRESSABLE = 1 << 47


class Budget:
    """A record of what loading one file has taken and may take.

    As a context it ends with the loading: what a model does later is its user's affair.

    Parameters
    ----------
    source
        The file, for messages.
    size
        Its bytes.
    max_bytes
        What the caller allows; None: FREE_BYTES, or SPREAD times ``size`` if that is more.
    """

    def __init__(self, source: str, size: int, max_bytes: int | None = None):
        self.source = source
        self.limit = max(FREE_BYTES, SPREAD * size) if max_bytes is None else max_bytes
        self.held = 0
        self.visits = 0
        self.most_visits = VISITS + size // LEAST_ENTRY

    @classmethod
    def unlimited(cls) -> Budget:
        """The budget of what no file asks for."""
        found = cls("", 0, UNLIMITED)
        found.most_visits = UNLIMITED
        return found

    def __enter__(self) -> Budget:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.limit = self.most_visits = UNLIMITED
        if isinstance(error, MemoryError):
            more = f" ({error})" if str(error) else ""
            raise FormatError(f"{self.source}: it takes more memory than there is{more}") from error

    def hold(self, place: str, nbytes: int) -> None:
        """Account for bytes that stay, before they are allocated."""
        self.lend(place, nbytes)
        self.held += nbytes

    def lend(self, place: str, nbytes: int) -> None:
        """Account for bytes that are given back soon, before they are allocated."""
        needed = self.held + nbytes
        if needed > self.limit:
            enough = 1 << (2 * needed - 1).bit_length()  # the rest of the file takes some too
            advice = f"if you trust the file, load(..., max_bytes={enough}) allows more (--max-bytes {enough})"
            raise FormatError(
                f"{self.source}: {place:.200}: this takes {nbytes} bytes, with all before it {needed}, "
                f"where loading may take {self.limit}; " + (advice if needed < ADDRESSABLE else "no computer has as much")
            )

    def text(self, place: str, text: str) -> None:
        """Account for what parsing a JSON text makes, before it is parsed; the layers that it describes may each be visited."""
        self.most_visits += len(text) // LEAST_ENTRY
        self.hold(place, CHARACTER * len(text) + sum(cost * text.count(mark) for mark, cost in JSON_COSTS.items()))

    def visit(self, place: str, count: int = 1) -> None:
        """Account for visits of layers."""
        self.visits += count
        if self.visits > self.most_visits:
            found = self.visits if self.visits < UNLIMITED else "countless"
            where = f"{place:.200}: " if place else ""
            raise FormatError(
                f"{self.source}: {where}its layers and models are used {found} times in all, as models that are called several times hold "
                f"others that are; up to {self.most_visits} are followed"
            )

    def deep(self, place: str, depth: int) -> None:
        """Refuse models and layers that are nested too deep."""
        if depth > DEPTH:
            raise FormatError(f"{self.source}: {place[:200] or 'the model'}: models and layers nested more than {DEPTH} deep")

    def name(self, place: str, name: str) -> None:
        """Refuse names that no layer has."""
        if len(name) > NAME:
            raise FormatError(f"{self.source}: {place:.200}: a name of {len(name)} characters, more than {NAME}: {name:.40}...")

    def survey(self, spec: ModelSpec) -> None:
        """Account for a model's layers, before anything else walks it, in time linear in what the file holds."""
        self.visits = 0
        self.visit("", visits(spec))
        self.hold("names of layers", PATHS * sum(paths(spec, 0)))
        for name in names(spec):
            self.name("a layer", name)


def visits(model: ModelSpec) -> int:
    """How often layers are used in one pass through a model."""
    inside = [inner_visits(layer) for layer in model.layers]
    return sum(1 + inside[call.layer] for call in model.calls if 0 <= call.layer < len(inside))


def inner_visits(layer: LayerSpec) -> int:
    """... inside one use of a layer."""
    inner = sum(1 + inner_visits(child) for child in layer.children)
    return inner if layer.model is None else inner + visits(layer.model)


def names(model: ModelSpec) -> Iterator[str]:
    """The names of all layers."""
    stack = list(model.layers)
    while stack:
        layer = stack.pop()
        yield layer.name
        stack += [*layer.children, *(layer.model.layers if layer.model is not None else ())]


def paths(model: ModelSpec, prefix: int) -> Iterator[int]:
    """The lengths of the paths of all layers."""
    for layer in model.layers:
        yield from layer_paths(layer, prefix)


def layer_paths(layer: LayerSpec, prefix: int) -> Iterator[int]:
    """... of a layer and those in it."""
    length = prefix + len(layer.name) + 1
    yield length
    for child in layer.children:
        yield from layer_paths(child, length)
    if layer.model is not None:
        yield from paths(layer.model, length)
