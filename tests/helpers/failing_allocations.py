"""Lets allocations fail, one after another, in load, convert, predict and step: a MemoryError or a FastLSTMError comes out, no crash, and
the next call is right.

As a script, ``python tests/helpers/failing_allocations.py FOLDER [--every N] [--only REGEX]``, it fails those that CPython makes for
anybody; with ``--library L``, and preloaded.c preloaded, those that a C library (a part of its path) makes by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5_files
import numpy as np
from golden import flat

import fastlstm
from fastlstm import FastLSTMError
from fastlstm.runtime import Runner

#: What C code of others (NumPy, CPython, safetensors) makes of a failed allocation that it did not reckon with.
FOREIGN = re.compile(r"SystemError|PanicException|RuntimeError: can't allocate")
#: After so many allocations in a row that harmed nobody, the call is taken to have no more.
QUIET = 400
#: More than NumPy has results lying about for.
ROWS = 200


def works(folder: Path) -> dict[str, Callable[[], Any]]:
    """The calls that are starved; each returns arrays."""
    rng = np.random.default_rng(0)
    layers = [h5_files.masking(), h5_files.recurrent("LSTM", 4, 3, rng, return_sequences=True), h5_files.recurrent("GRU", 3, 4, rng)]
    path = str(h5_files.save(folder / "m.h5", [*layers, h5_files.dense(2, 3, rng)], (None, 3)))
    converted, again = str(folder / "m.fastlstm"), str(folder / "again.fastlstm")
    fastlstm.convert(path, converted)
    data = Path(converted).read_bytes()
    model, x = fastlstm.load(path), rng.normal(size=(ROWS, 5, 3)).astype("f4")
    stream = model.stream(ROWS)

    def step(x_t: np.ndarray) -> Any:
        stream.reset()
        return stream.step(x_t)

    def convert() -> Any:
        fastlstm.convert(path, again)
        return fastlstm.load(again).predict(x)

    def make_ready() -> Any:
        Runner(model.executor.example_program())
        return model.predict(x)

    return {
        "make ready": make_ready,
        "load .h5": lambda: fastlstm.load(path).predict(x),
        "load .fastlstm": lambda: fastlstm.load(converted).predict(x),
        "load bytes": lambda: fastlstm.load(data).predict(x),
        "convert": convert,
        "predict": lambda: model.predict(x),
        "predict, the long way": lambda: model.predict(x, batch_size=32),
        "predict sequences": lambda: model.predict([x[0], x[1, :2]]),
        "step": lambda: step(x[:, 0]),
        "step, the long way": lambda: step(x[:, 0].astype("f8")),
    }


class Interpreter:
    """Fails what CPython allocates."""

    def __init__(self) -> None:
        import _testcapi

        self.api = _testcapi

    @contextlib.contextmanager
    def failing(self, number: int) -> Iterator[None]:
        self.api.set_nomemory(number, number + 1)
        try:
            yield
        finally:
            self.api.remove_mem_hooks()

    def over(self, number: int, last: int, every: int) -> bool:
        """Are there no more? ``last`` is the last one that harmed."""
        return number >= last + max(QUIET, 20 * every)


class Library:
    """Fails what a library allocates by itself."""

    def __init__(self, name: str):
        self.preloaded, self.name = ctypes.CDLL(None), name.encode()
        self.counted = 0

    @contextlib.contextmanager
    def failing(self, number: int) -> Iterator[None]:
        self.preloaded.failing_start(ctypes.c_long(number), self.name)
        try:
            yield
        finally:
            self.counted = self.preloaded.failing_stop()

    def over(self, number: int, last: int, every: int) -> bool:
        return number > 1 and number - every > self.counted


def starve(function: Callable[[], Any], means: Interpreter | Library, every: int) -> tuple[int, int]:
    """Fail each allocation (each ``every``-th) in turn; how many were tried, and how many stopped it."""
    expected = [y.copy() for y in flat(function())]
    number, stopped, last = 1, 0, 0
    while not means.over(number, last, every):
        try:
            with means.failing(number):
                function()
        except (MemoryError, FastLSTMError):
            stopped, last = stopped + 1, number
        except BaseException as error:
            if not FOREIGN.match(f"{type(error).__name__}: {error}"):
                raise
            last = number
        again = flat(function())
        assert all(np.array_equal(*pair) for pair in zip(again, expected, strict=True)), f"other results after allocation {number}"
        number += every
    return number // every, stopped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--library", default="")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    means = Library(arguments.library) if arguments.library else Interpreter()
    for what, function in works(arguments.folder).items():
        if not re.search(arguments.only, what):
            continue
        function()  # whatever is made once is there by now
        print(f"{what}: ", end="", flush=True)
        tried, stopped = starve(function, means, arguments.every)
        print(f"{tried} tried, {stopped} calls stopped", flush=True)
    print("done")


if __name__ == "__main__":
    main()
