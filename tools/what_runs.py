"""What runs in kernels and what in NumPy, by class of layer, over models in files: and what the layers in NumPy have in common.

python tools/what_runs.py FILE_OR_FOLDER_OR_ARCHIVE... [--all]

Folders are searched; archives (.tar.xz, as the recorded corpora are) are searched too. A file that cannot be loaded counts as refused.
Without ``--all`` only classes are listed of which some layer runs in NumPy. Of these it tells what their layers in NumPy are like, and
no layer of that class in kernels, alone or together: arguments, axes of the input, masks; for models that run in NumPy as a whole, why.
A layer counts once for each of its calls.
"""

from __future__ import annotations

import argparse
import re
import sys
import tarfile
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from fastlstm.api import load
from fastlstm.catalogue import Role
from fastlstm.errors import FastLSTMError
from fastlstm.layers.base import Layer, every_layer
from fastlstm.model import Model
from fastlstm.planner import ProgramBuilder
from fastlstm.program.ir import Value

ENDINGS = (".h5", ".hdf5", ".keras", ".fastlstm")
#: How weights alone are called, and the file beside them that has their architecture.
WEIGHTS = re.compile(r"(.*?)[._]weights\.h5$")
#: So many sets of arguments are told of a class.
MOST_REASONS = 6
#: Arguments of numbers that may decide.
NUMBERS = frozenset(("axis", "axes", "strides", "dilation_rate", "groups", "num_constants"))

Facts = frozenset[str]


@dataclass
class Kind:
    """The layers of a class."""

    native: int = 0
    in_numpy: int = 0
    facts_native: set[Facts] = field(default_factory=set)
    facts_in_numpy: list[Facts] = field(default_factory=list)
    wholly: Counter[str] = field(default_factory=Counter)  # in models that run in NumPy as a whole, by why

    def reasons(self) -> Iterator[str]:
        """What sets the layers in NumPy apart, the most frequent first."""
        found = Counter(self.wholly)
        for facts in self.facts_in_numpy:
            found[self._apart(facts) if self.native else "none has kernels"] += 1
        for reason, count in found.most_common(MOST_REASONS):
            yield f"{count} x {reason}"
        if len(found) > MOST_REASONS:
            yield f"{len(found) - MOST_REASONS} other sets of arguments"

    def _apart(self, facts: Facts) -> str:
        """What a layer has that none in kernels has: some fact alone, or two that none has together."""
        known = frozenset().union(*self.facts_native)
        own = sorted(facts - known)
        if not own:
            pairs = (set(pair) for pair in combinations(sorted(facts), 2))
            own = sorted(next((pair for pair in pairs if not any(pair <= native for native in self.facts_native)), ()))
            return " with ".join(own) or "as some in kernels"
        return ", ".join(own)


def facts_of(layer: Layer, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> Iterator[str]:
    """What may decide whether a layer has kernels."""
    for key in sorted(layer.HONOURED):
        value = layer.config.get(key)
        named = isinstance(value, Mapping) and "name" in value
        if named or isinstance(value, (bool, str)) or (key in NUMBERS and value is not None):
            yield f"{key}={value!r}"
    yield from (f"given {name}" for name in sorted(keywords))
    for value in inputs:
        yield f"input of {len(value.shape) + 1} axes"
        if value.mask is not None:
            yield f"mask of {len(value.mask.shape) + 1} axes"
        if value.integer:
            yield "input of integers"
    yield from (f"around {child.spec.class_name}" for child in layer.children)


class Watch:
    """Stands in for two methods of the planner's while Programs are written, and notes what becomes of each layer."""

    def __init__(self) -> None:
        self.kinds: dict[str, Kind] = {}
        self._in_numpy: set[int] = set()

    def lower(self, builder: ProgramBuilder, layer: Layer, inputs: Sequence[Value], keywords: Mapping[str, Any]) -> tuple[Value, ...]:
        outer, builder.layer = builder.layer, layer.path
        facts = frozenset(facts_of(layer, inputs, keywords))
        values = layer.lower(builder, inputs, keywords)
        kind = self.kinds.setdefault(layer.spec.class_name, Kind())
        if values is None:
            values = builder.call_numpy(layer, inputs, keywords)
            kind.in_numpy += 1
            kind.facts_in_numpy.append(facts)
        else:
            kind.native += 1
            kind.facts_native.add(facts)
        builder.layer = outer
        return values

    def whole(self, model: Model, why: str) -> None:
        """Note the layers of a model that runs in NumPy as a whole."""
        for layer in every_layer(model.executor.network):
            if layer.row.role not in (Role.INPUT, Role.CELL):
                kind = self.kinds.setdefault(layer.spec.class_name, Kind())
                kind.in_numpy += 1
                kind.wholly[why] += 1


def why_wholly(model: Model) -> str:
    """Why a model runs in NumPy as a whole; empty: it does not."""
    executor = model.executor
    if executor.dtype == np.float64:
        return "the model computes in float64"
    if executor.crosses_rows:
        return "rows of the batch depend on each other"
    return ""


def files_in(given: Path, scratch: Path) -> Iterator[Path]:
    """The models in a file, a folder or an archive."""
    if given.name.endswith(".tar.xz"):
        target = scratch / given.name.removesuffix(".tar.xz")
        with tarfile.open(given) as packed:
            packed.extractall(target, filter="data")
        yield from files_in(target, scratch)
    elif given.is_dir():
        for path in sorted(given.rglob("*")):
            if path.is_file() and path.name.endswith((*ENDINGS, ".tar.xz")):
                yield from files_in(path, scratch)
    elif given.name.endswith(ENDINGS):
        yield given


def architecture(path: Path) -> Path | None:
    """The file with the architecture of one of weights alone, if there is one."""
    match = WEIGHTS.match(path.name)
    beside = path.with_name(f"{match[1]}.json") if match else None
    return beside if beside is not None and beside.exists() else None


def watched(paths: Iterator[Path]) -> tuple[Watch, Counter[str]]:
    """What becomes of the layers of models, and how many there are by how loading ended."""
    watch, ends = Watch(), Counter[str]()
    with patch.object(ProgramBuilder, "lower", lambda builder, *given: watch.lower(builder, *given)):
        for path in paths:
            try:
                model = load(path, architecture=architecture(path))
            except FastLSTMError as error:
                ends[type(error).__name__] += 1
                continue
            why = why_wholly(model)
            ends["in NumPy as a whole" if why else "loaded"] += 1
            if why:
                watch.whole(model, why)
    return watch, ends


def table(watch: Watch, every: bool) -> Iterator[str]:
    """The lines of the table."""
    yield f"{'layer':<26} {'kernels':>8} {'NumPy':>8}  why"
    for name, kind in sorted(watch.kinds.items(), key=lambda item: (-item[1].in_numpy, item[0])):
        if kind.in_numpy or every:
            first, *more = [*kind.reasons(), ""]
            yield f"{name:<26} {kind.native:>8} {kind.in_numpy:>8}  {first}".rstrip()
            yield from (f"{'':<44}  {reason}" for reason in more if reason)


def main() -> int:
    parser = argparse.ArgumentParser(description="Count which layers run in kernels and which in NumPy, by class, over models in files.")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files, folders, .tar.xz archives")
    parser.add_argument("--all", action="store_true", help="list classes too that always run in kernels")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        watch, ends = watched(file for path in arguments.paths for file in files_in(path, Path(folder)))
    print(", ".join(f"{count} {end}" for end, count in ends.most_common()))
    print("\n".join(table(watch, arguments.all)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
