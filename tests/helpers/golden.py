"""The golden corpus: models saved by many Keras generations with what that very Keras predicted for them.

Finds the corpus, runs single cases, and tells right from refused from wrong. As a script it runs everything (or a lean part)
and prints the table by generation::

    python tests/helpers/golden.py [--lean] [--only REGEX] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tarfile
import tempfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

#: The project's own small set, made by tools/make_golden.py.
OWN = Path(__file__).parents[1] / "corpus" / "recorded"
#: What a case may be saved as: endings of its files, and whether the architecture comes in CASE.json beside it.
KINDS = {".h5": False, "_weights.h5": True, ".keras": False, ".weights.h5": True}

#: Reasons in the index for which nothing is refused any more.
OUTGROWN = ("TFOpLambda / Operation nodes", "string preprocessing layer")
RIGHT, REFUSED_ON_PURPOSE, REFUSED, WRONG = "right", "refused on purpose", "refused", "wrong"
OUTCOMES = (RIGHT, REFUSED_ON_PURPOSE, REFUSED, WRONG)


@dataclass(frozen=True)
class Case:
    """One file of the corpus."""

    generation: str
    name: str
    kind: str
    folder: Path
    record: Mapping[str, Any]  # its line of index.jsonl

    @property
    def path(self) -> Path:
        return self.folder / (self.name + self.kind)

    @property
    def architecture(self) -> Path | None:
        return self.folder / f"{self.name}.json" if KINDS[self.kind] else None

    @property
    def before_keras_2(self) -> bool:
        version = self.record.get("keras") or self.generation.removeprefix("keras-")
        return version[:2] in ("0.", "1.")

    @property
    def unfaithful_state(self) -> bool:
        """Keras's predict on JAX forgets state between calls, so only calls from fresh state are truth."""
        return self.record.get("backend") == "jax"

    def __str__(self) -> str:
        return f"{self.generation}/{self.name}{self.kind}"


@dataclass(frozen=True)
class Result:
    """The outcome of a case."""

    generation: str
    case: str
    kind: str
    outcome: str
    detail: str = ""  # why refused, or what is wrong
    difference: float = 0.0  # largest |y - y_keras| / bound


def corpus() -> Path | None:
    """The folder of the corpus: $FASTLSTM_GOLDEN, or shared/golden beside the repository; None where absent."""
    named = os.environ.get("FASTLSTM_GOLDEN")
    folder = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "golden"
    return folder if folder.is_dir() else None


def unpack(source: Path, target: Path) -> None:
    """Extract every archive of the corpus into ``target``, once."""
    for archive in sorted(source.glob("*.tar.xz")):
        if (target / archive.name.removesuffix(".tar.xz")).exists():
            continue
        with tarfile.open(archive) as packed:
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            packed.extractall(target, **safe)


def cases(*roots: Path) -> Iterator[Case]:
    """Every file of every generation that lies unpacked below the roots, generations in order."""
    indices = {index.parent.name: index for root in roots for index in root.glob("*/index.jsonl")}
    for generation, index in sorted(indices.items()):
        if generation == "bad":
            continue
        for line in index.read_text().splitlines():
            record = json.loads(line)
            for kind, needs_architecture in KINDS.items():
                name = record["case"]
                architecture_there = f"{name}.json" in record["files"] or not needs_architecture
                if name + kind in record["files"] and architecture_there:
                    yield Case(generation, name, kind, index.parent, record)


def lean(every: Iterable[Case]) -> list[Case]:
    """One generation for each construction: enough to tell whether kernels compute it."""
    chosen: dict[str, Case] = {}
    for case in every:
        if case.kind == ".h5" and not case.before_keras_2:
            key = zlib.crc32(str(case).encode())
            if case.name not in chosen or key < zlib.crc32(str(chosen[case.name]).encode()):
                chosen[case.name] = case
    return sorted(chosen.values(), key=str)


def in_half_precision(case: Case) -> bool:
    """Does the file ask for a float16 policy? Then Keras rounds and fastlstm does not."""
    described = case.folder / f"{case.name}.json"
    text = described.read_bytes() if described.exists() else case.path.read_bytes()
    return b"mixed_float16" in text or b"mixed_bfloat16" in text


def bound(expected: np.ndarray, half: bool = False) -> float:
    """The largest difference that still counts as equal to Keras."""
    finite = np.abs(expected[np.isfinite(expected)])
    largest = float(finite.max()) if finite.size else 0.0
    return 2e-3 * largest if half else 2e-6 + 1e-5 * largest


def difference(actual: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference; NaN equals NaN and an infinity itself, anything else beside them is infinitely far."""
    if not expected.size:
        return 0.0
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.abs(actual - expected)
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    return float(np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart)).max())


def assert_equal(actual: np.ndarray, expected: np.ndarray) -> None:
    """Within what "equal" means."""
    assert actual.shape == expected.shape
    assert difference(actual, expected) <= bound(expected)


def flat(outputs: Any) -> list[np.ndarray]:
    """Outputs in the order in which the corpus records them."""
    if isinstance(outputs, Mapping):
        outputs = [outputs[key] for key in sorted(outputs)]
    if isinstance(outputs, (list, tuple)):
        return [array for output in outputs for array in flat(output)]
    return [np.asarray(outputs)]


def calls(recorded: Mapping[str, np.ndarray]) -> Iterator[tuple[int, list[np.ndarray], list[np.ndarray]]]:
    """(call, inputs, expected outputs) in order; one call for a stateless model."""
    stateful = "x0_call0" in recorded
    count = sum(key.startswith("x0_call") for key in recorded) if stateful else 1
    for call in range(count):
        suffix = f"_call{call}" if stateful else ""
        inputs, outputs = (
            [recorded[f"{letter}{i}{suffix}"] for i in range(len(recorded)) if f"{letter}{i}{suffix}" in recorded] for letter in "xy"
        )
        yield call, inputs, outputs


def compare(case: Case, model: Any) -> tuple[str, float]:
    """Run the recorded inputs; what is wrong ("" if nothing) and the largest difference in units of the bound."""
    recording = case.folder / f"{case.name}.npz"
    if not recording.exists():
        return "", 0.0
    with np.load(recording) as file:
        recorded = dict(file)
    resets = {int(call) for call in recorded.get("reset_before", ())}
    half = in_half_precision(case)
    worst = 0.0
    for call, inputs, expected in calls(recorded):
        if call in resets:
            model.reset_states()
        outputs = flat(model.predict(inputs if len(inputs) > 1 else inputs[0]))
        if case.unfaithful_state and call and call not in resets:
            continue
        if [y.shape for y in outputs] != [y.shape for y in expected]:
            return f"call {call}: shapes {[y.shape for y in outputs]}, Keras gave {[y.shape for y in expected]}", np.inf
        for number, (y, y_keras) in enumerate(zip(outputs, expected)):
            # Keras 0 put its float32 results into arrays of float64. Operations of a float32 model may cast to it, which changes no number.
            wide = not case.before_keras_2 and not case.generation.startswith("operations-")
            if y_keras.dtype == np.float64 and y.dtype != np.float64 and wide:
                return f"call {call}: output {number} is {y.dtype}, Keras gave float64", np.inf
            allowed = bound(y_keras, half)
            apart = difference(y, y_keras)
            worst = max(worst, apart / allowed if allowed else (0.0 if apart == 0.0 else np.inf))
            if not apart <= allowed:
                return f"call {call}: output {number} differs by {apart:.3g} (allowed {allowed:.3g})", worst
    return "", worst


def run(case: Case) -> Result:
    """Load a case, run it, judge it."""
    import fastlstm

    def result(outcome: str, detail: str = "", worst: float = 0.0) -> Result:
        return Result(case.generation, case.name, case.kind, outcome, detail, worst)

    by_index = case.record["refuse"] if case.record["refuse"] not in OUTGROWN else None
    try:
        model = fastlstm.load(case.path, architecture=case.architecture)
    except fastlstm.UnsupportedError as error:
        return result(REFUSED_ON_PURPOSE if by_index else REFUSED, str(error))
    except Exception as error:  # noqa: BLE001  whatever else a load raises is that case's failure alone
        return result(WRONG, f"load: {type(error).__name__}: {error}")
    if by_index:
        return result(WRONG, f"loaded, but must be refused: {by_index}")
    try:
        complaint, worst = compare(case, model)
    except Exception as error:  # noqa: BLE001  likewise
        return result(WRONG, f"predict: {type(error).__name__}: {error}")
    return result(WRONG if complaint else RIGHT, complaint, worst)


def table(results: Iterable[Result]) -> list[str]:
    """Counts by generation and outcome, as lines of text."""
    counts: dict[str, Counter[str]] = {}
    for result in results:
        counts.setdefault(result.generation, Counter())[result.outcome] += 1
    total: Counter[str] = sum(counts.values(), Counter())
    width = max(map(len, [*counts, "generation"]))
    lines = [f"{'generation':<{width}}" + "".join(f"  {outcome:>{max(6, len(outcome))}}" for outcome in OUTCOMES)]
    for name, row in [*sorted(counts.items()), ("all", total)]:
        lines.append(f"{name:<{width}}" + "".join(f"  {row[outcome]:>{max(6, len(outcome))}}" for outcome in OUTCOMES))
    return lines


def summary(results: Iterable[Result]) -> list[str]:
    """The tables of all kinds of files."""
    found = list(results)
    lines = []
    for kind, with_json in KINDS.items():
        of_kind = [result for result in found if result.kind == kind]
        if of_kind:
            lines += [f"CASE{kind}" + (" + CASE.json" if with_json else ""), *(f"  {line}" for line in table(of_kind))]
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the golden corpus and print the outcomes by generation.")
    parser.add_argument("--lean", action="store_true", help="one generation for each construction")
    parser.add_argument("--only", default="", metavar="REGEX", help="cases whose GENERATION/CASE.ending matches")
    parser.add_argument("--kinds", default=",".join(KINDS), help="file endings, comma separated (default: all)")
    parser.add_argument("--json", action="store_true", help="print results as JSON, one a line, instead of the table")
    arguments = parser.parse_args()
    roots = [OWN, *filter(None, [corpus()])]
    with tempfile.TemporaryDirectory() as folder:
        for archives in roots:
            unpack(archives, Path(folder))
        every = [case for case in cases(*roots, Path(folder)) if case.kind in arguments.kinds.split(",")]
        chosen = [case for case in (lean(every) if arguments.lean else every) if re.search(arguments.only, str(case))]
        results = [run(case) for case in chosen]
    if arguments.json:
        for result in results:
            print(json.dumps(asdict(result)))
    else:
        for result in results:
            if result.outcome in (WRONG, REFUSED):
                first = next((line for line in result.detail.splitlines()[1:] if line), result.detail)
                print(f"{result.outcome}: {result.generation}/{result.case}{result.kind}: {first.strip()}")
        print("\n".join(table(results)))
    return 1 if any(result.outcome == WRONG for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
