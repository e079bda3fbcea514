"""What ``tools/make_saved_models.py`` has written, against fastlstm: ``python tests/helpers/saved_models.py FOLDER...``.

For each case: the SavedModel, the checkpoints with the model's JSON, and the ``.h5`` of the same model must give Keras's numbers, and
the SavedModel the same spec as the ``.h5``.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import golden
import numpy as np

import fastlstm
from fastlstm import formats
from fastlstm.errors import FastLSTMError
from fastlstm.spec import LayerSpec, ModelSpec


def decay(x: np.ndarray, states: list[np.ndarray], weights: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """DecayCell of the tool."""
    zz, aa, scale = weights
    y = np.tanh(x @ zz + 0.5 * states[0] @ aa) * scale
    return y, [y]


def gated(x: np.ndarray, weights: list[np.ndarray]) -> np.ndarray:
    """Gated of the tool."""
    second, second_bias, first, first_bias, offset = weights
    return 1 / (1 + np.exp(-(x @ first + first_bias))) * (x @ second + second_bias) + offset


CUSTOM: dict[str, Callable[..., Any]] = {"DecayCell": decay, "Gated": gated}


def ways(case: Path, about: dict[str, Any]) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """The files of a case, each with what else is needed to load it."""
    yield "saved", case / "saved", {}
    if (case / "model.h5").exists():
        yield "h5", case / "model.h5", {}
    for way, path in (("checkpoint", case / "checkpoint" / "weights"), ("tracked", case / "tracked" / "all-1")):
        if path.parent.exists() and not about["custom"]:  # whose arrays a checkpoint does not order
            yield way, path, {"architecture": case / "model.json"}


def compare(case: Path, path: Path, options: dict[str, Any], calls: int) -> None:
    """A file gives the numbers that Keras gave."""
    about = json.loads((case / "about.json").read_text())
    custom = {about["custom"]: CUSTOM[about["custom"]]} if about["custom"] else None
    model = fastlstm.load(path, custom_layers=custom, **options)
    with np.load(case / "arrays.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    for call in range(calls) if calls else (None,):
        end = "" if call is None else f"_call{call}"
        given = [arrays[f"x{number}{end}"] for number in range(about["inputs"])]
        more = {} if call is None else {"batch_size": len(given[0])}
        found = golden.flat(model.predict(given if len(given) > 1 else given[0], **more))
        expected = [arrays[f"y{number}{end}"] for number in range(len(found))]
        for y, theirs in zip(found, expected, strict=True):
            if json_policy(case):
                assert np.abs(y - theirs).max() <= 2e-3 * np.abs(theirs).max()
            else:
                golden.assert_equal(y, theirs)


def json_policy(case: Path) -> bool:
    """Whether that Keras rounded to float16."""
    return "mixed_float16" in (case / "model.json").read_text()


def parts(spec: ModelSpec | LayerSpec) -> Any:
    """A spec as values that can be compared."""
    if isinstance(spec, LayerSpec):
        weights = [(array.dtype.str, array.shape, array.tobytes()) for array in spec.weights]
        inner = None if spec.model is None else parts(spec.model)
        return spec.class_name, spec.name, dict(spec.config), weights, [parts(child) for child in spec.children], inner, spec.dtype
    rest = spec.calls, spec.inputs, spec.outputs, spec.input_names, spec.output_names, spec.rules, spec.output_kind, spec.problems
    return spec.name, spec.class_name, [parts(layer) for layer in spec.layers], rest


def check(case: Path) -> Iterator[tuple[str, str]]:
    """(way, outcome) for each file of a case."""
    about = json.loads((case / "about.json").read_text())
    for way, path, options in ways(case, about):
        try:
            compare(case, path, options, about["calls"])
            outcome = "right"
            if way == "saved" and (case / "model.h5").exists():
                ours, theirs = parts(formats.read(path)), parts(formats.read(case / "model.h5"))
                if about["tensorflow"].startswith(("2.0.", "2.1.")):  # an .h5 file does not tell TensorFlow 2.0 from 2.1, a SavedModel does
                    ours, theirs = ours[:3], theirs[:3]
                outcome = "right" if ours == theirs else "right, another spec"
        except FastLSTMError as error:
            outcome = f"refused: {str(error).replace(str(case), '')}"
        except AssertionError as error:
            outcome = f"WRONG: {str(error)[:200]}"
        yield way, outcome


def main(folders: list[str]) -> int:
    warnings.simplefilter("ignore")
    wrong = 0
    for folder in map(Path, folders):
        counts: Counter[str] = Counter()
        for case in sorted(path.parent for path in folder.glob("*/about.json")):
            for way, outcome in check(case):
                counts[f"{way} {outcome.split(':')[0]}"] += 1
                wrong += outcome.startswith("WRONG")
                if outcome != "right":
                    print(f"{folder.name} {case.name} {way}: {outcome[:400]}")
        print(folder.name, dict(sorted(counts.items())), flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
