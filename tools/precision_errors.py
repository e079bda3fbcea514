"""What each precision of ``load`` is off by, beside what Keras recorded: percentiles over the outputs of a corpus.

python tools/precision_errors.py FOLDER_OF_ARCHIVES [--part 1/8]
python tools/precision_errors.py --published FOLDER_OF_MODELS     files as tests/corpus/test_real_models.py reads them

An output's error is its largest difference from Keras's, as a part of the largest number of that output. Where this CPU has no AMX,
its instructions are computed by ``tests/helpers/amx.c``: the same bits, some thousand times slower. Counted are the models in which
the precision changes a product.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import fastlstm
from fastlstm.errors import FastLSTMError
from fastlstm.program import bfloat16

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "helpers"))
import amx
import golden

#: By the name in the table: what is asked for.
PRECISIONS = {"float32": "float32", "bfloat16x3": "bfloat16x3", "bfloat16": "bfloat16", "bfloat16 weights": "bfloat16"}
PERCENTILES = (50, 90, 99, 99.9, 100)
#: What this process may use.
THIS_MACHINE = fastlstm.runtime.amx_refused
#: The worst are named.
NAMED = 5


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="folder of recorded corpora, as in tests/helpers/golden.py")
    parser.add_argument("--published", action="store_true", help="the folder holds models that others published")
    parser.add_argument("--part", default="1/1", metavar="K/N", help="every Nth case")
    parser.add_argument("--precisions", nargs="*", default=list(PRECISIONS), choices=PRECISIONS)
    given = parser.parse_args()
    warnings.simplefilter("ignore")  # what files leave open is not what is looked at here
    with tempfile.TemporaryDirectory() as folder:
        number, count = map(int, given.part.split("/"))
        if given.published:
            every: list[Any] = [path.with_suffix("") for path in sorted(given.corpus.glob("*.npz"))]
        else:
            golden.unpack(given.corpus, Path(folder))
            every = list(golden.cases(Path(folder)))
        chosen = [case for case in every if zlib.crc32(str(case).encode()) % count == number - 1]
        if not chosen:
            what = "models with an .npz of that name beside each" if given.published else "recorded corpora (*.tar.xz)"
            parser.error(f"{given.corpus}: expected a folder of {what}, found none, or none in part {given.part}")
        print(f"{'precision':<18}{'models':>8}{'outputs':>9}" + "".join(f"{f'{p:g}%':>10}" for p in PERCENTILES) + f"{'over bound':>12}")
        for name in given.precisions:
            report(name, chosen)


def report(name: str, chosen: list[Any]) -> None:
    """A line of the table."""
    bfloat16.LEAST_HALVES = 1  # small layers show what large ones would
    by_amx = name in ("bfloat16", "bfloat16x3")
    fastlstm.runtime.amx_refused = THIS_MACHINE
    if by_amx and amx.lacking():
        print(f"{name:<18}not here: {amx.lacking()}")
        return
    fastlstm.runtime.amx_refused = lambda: "" if by_amx else "it is not asked for"
    errors: list[tuple[float, str]] = []
    models = 0
    for case in chosen:
        found = list(errors_of_published(case, name) if isinstance(case, Path) else errors_of(case, name))
        models += bool(found)
        errors += [(error, str(case)) for error in found]
    if not errors:
        print(f"{name:<18}{0:>8}{0:>9}", flush=True)
        return
    values = np.array([error for error, _ in errors])
    bound = fastlstm.precision.BOUNDS.get(name, 1.2e-5)
    told = "".join(f"{np.percentile(values, p, method='lower'):>10.1e}" for p in PERCENTILES)
    print(f"{name:<18}{models:>8}{len(values):>9}{told}{int((values > bound).sum()):>12}", flush=True)
    for error, case in sorted(errors, reverse=True)[:NAMED]:
        print(f"    {error:.1e}  {case}", flush=True)


def errors_of(case: golden.Case, name: str) -> Iterator[float]:
    """The error of each output of a case, if its model computes in that precision."""
    recording = case.folder / f"{case.name}.npz"
    try:
        model: Any = fastlstm.load(case.path, architecture=case.architecture, precision=PRECISIONS[name])
    except FastLSTMError:
        return
    if model.precision_used != name or not recording.exists() or golden.in_half_precision(case):
        return
    with np.load(recording, allow_pickle=False) as file:
        recorded = dict(file)
    resets = {int(call) for call in recorded.get("reset_before", ())}
    for call, inputs, expected in golden.calls(recorded):
        if call in resets:
            model.reset_states()
        outputs = golden.flat(model.predict(inputs if len(inputs) > 1 else inputs[0]))
        if case.unfaithful_state and call and call not in resets:
            continue
        yield from _errors(outputs, expected)


def errors_of_published(path: Path, name: str) -> Iterator[float]:
    """The same of a model that somebody published."""
    model: Any = fastlstm.load(path, precision=PRECISIONS[name])
    if model.precision_used != name:
        return
    with np.load(path.with_name(path.name + ".npz"), allow_pickle=False) as file:
        for batch in ("", "_b1"):
            yield from _errors([model.predict(file[f"x0{batch}"])], [file[f"y0{batch}"]])


def _errors(outputs: list[np.ndarray], expected: list[np.ndarray]) -> Iterator[float]:
    for y, theirs in zip(outputs, expected, strict=True):
        largest = np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0)
        if largest > 0:
            yield golden.difference(y, theirs) / float(largest)


if __name__ == "__main__":
    main()
