"""Runs models on arrays that end, or begin, at a page that nobody may touch: what kernels do outside of them is a crash.

As a script it runs the small models (or, with ``--golden FOLDER...``, the corpus; with ``--lean``, one generation of each of its
constructions) at the CPU level that FASTLSTM_KERNELS names.
"""

from __future__ import annotations

import argparse
import ctypes
import mmap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import golden
import kernel_models
import numpy as np

import fastlstm
from fastlstm import FastLSTMError, Model, runtime
from fastlstm.runtime import threads

PAGE = mmap.PAGESIZE
SIDES = ("end", "start")
RUNNER, FAST_PATH = runtime.Runner, runtime.FastPath
PROTECT = ctypes.CDLL(None, use_errno=True).mprotect
PROTECT.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


def guarded(array: np.ndarray, side: str) -> np.ndarray:
    """A copy whose last byte stands before a page that nobody may touch, or whose first byte follows one."""
    pages = -(-array.nbytes // PAGE) + 1
    memory = mmap.mmap(-1, pages * PAGE)
    place, forbidden = ((pages - 1) * PAGE - array.nbytes, (pages - 1) * PAGE) if side == "end" else (PAGE, 0)
    copy = np.frombuffer(memory, np.uint8, array.nbytes, place).view(array.dtype).reshape(array.shape)
    copy[...] = array
    if PROTECT(ctypes.addressof(ctypes.c_char.from_buffer(memory)) + forbidden, PAGE, 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    return copy


class GuardedRunner:
    """A Runner whose inputs, outputs and states are such copies."""

    side = ""  # none, while empty

    def __init__(self, *made_of: Any, **options: Any):
        self.plain = RUNNER(*made_of, **options)

    def run(self, inputs: list, outputs: list, states: list, *rest: Any) -> None:
        if not self.side:
            self.plain.run(inputs, outputs, states, *rest)
            return
        copies = [[guarded(array, self.side) for array in arrays] for arrays in (inputs, outputs, states)]
        self.plain.run(*copies, *rest)
        for array, copy in zip([*outputs, *states], [*copies[1], *copies[2]]):
            array[...] = copy


def fast_path(runner: GuardedRunner, *made_of: Any, **options: Any) -> runtime.FastPath:
    """Of the Runner inside."""
    return FAST_PATH(runner.plain, *made_of, **options)


def same(found: Any, expected: Any) -> bool:
    return all(np.array_equal(*pair, equal_nan=True) for pair in zip(golden.flat(found), golden.flat(expected), strict=True))


def steps(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The first timestep of what has any."""
    return [x[:, 0] if x.ndim > 2 or x.dtype == np.int32 else x for x in inputs]


def check(model: Model, inputs: Sequence[np.ndarray]) -> None:
    """Predict, the long way and the short, and stream, with guards on either side; results stay the same."""
    GuardedRunner.side = ""
    model.reset_states()
    expected = model.predict(list(inputs))
    for side in SIDES:
        GuardedRunner.side = side
        copies = [guarded(x, side) for x in inputs]
        for options in ({"batch_size": 32}, {}):
            model.reset_states()
            assert same(model.predict(copies if len(copies) > 1 else copies[0], **options), expected)
        try:
            stream = model.stream(len(inputs[0]))
            y = stream.step(steps(inputs))
        except FastLSTMError:  # it needs what is still to come, say
            continue
        if isinstance(y, np.ndarray):
            stream.reset()
            short = [guarded(np.ascontiguousarray(x), side) for x in steps(inputs)]
            assert same(stream.step(short if len(short) > 1 else short[0], out=guarded(np.zeros_like(y), side)), y)


def small() -> Iterator[tuple[str, Model, list[np.ndarray]]]:
    for what, spec in kernel_models.models():
        model = Model(spec)
        for rows, steps in ((1, 1), (7, 5)):
            yield f"{what}; {rows} rows, {steps} steps", model, kernel_models.given(model, rows, steps)


def recorded(cases: Iterable[golden.Case]) -> Iterator[tuple[str, Model, list[np.ndarray]]]:
    for case in cases:
        try:
            model = fastlstm.load(case.path, architecture=case.architecture)
        except FastLSTMError:
            continue
        recording = case.folder / f"{case.name}.npz"
        if recording.exists():
            with np.load(recording) as file:
                inputs = next(golden.calls(dict(file)))[1]
        else:
            inputs = kernel_models.given(model, 6, 5)
        infos = zip(inputs, model.inputs, strict=True)
        yield str(case), model, [np.ascontiguousarray(x, info.dtype) for x, info in infos]


def arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--golden", nargs="*", type=Path, help="folders of the unpacked corpus")
    parser.add_argument("--lean", action="store_true")
    return parser


def chosen(given: argparse.Namespace) -> Iterator[tuple[str, Model, list[np.ndarray]]]:
    """The models that the arguments ask for, with input."""
    if not given.golden:
        return small()
    cases = golden.cases(*given.golden)
    return recorded(golden.lean(cases) if given.lean else cases)


def check_all(given: argparse.Namespace, check: Callable[[Model, Sequence[np.ndarray]], None]) -> str:
    """Check the models that the arguments ask for, each named first, so that a crash tells which it was. The level, and how many."""
    warnings.simplefilter("ignore")
    count = 0
    for what, model, inputs in chosen(given):
        print(what, flush=True)
        check(model, inputs)
        count += 1
    return f"{runtime.level()}: {count} models"


def main() -> None:
    given = arguments(__doc__).parse_args()
    runtime.Runner, runtime.FastPath, threads.FastPath = GuardedRunner, fast_path, fast_path
    print(check_all(given, check))


if __name__ == "__main__":
    main()
