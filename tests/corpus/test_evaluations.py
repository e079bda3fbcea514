"""``evaluate`` beside what every generation of Keras gave: losses, metrics, masks, weights, several outputs, penalties.

Recorded by ``tests/helpers/evaluation_cases.py``, archived by ``tools/record_evaluations.py``.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import fastlstm

RECORDED = Path(__file__).parent / "recorded"
GENERATIONS = sorted(path.name.removesuffix(".tar.xz") for path in RECORDED.glob("evaluations-*.tar.xz"))
#: Keras adds up in float32.
CLOSE = {"rtol": 2e-5, "atol": 2e-6, "equal_nan": True}


class Recorded(NamedTuple):
    """What one generation gave."""

    folder: Path
    arrays: Mapping[str, np.ndarray]
    told: Mapping[str, Any]

    def picked(self, name: Any) -> Any:
        """Arrays by name."""
        return None if name is None else [self.arrays[one] for one in name] if isinstance(name, list) else self.arrays[name]


@pytest.fixture(scope="module", params=GENERATIONS)
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("evaluations")
    with tarfile.open(RECORDED / f"{request.param}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return Recorded(folder, dict(np.load(folder / "cases.npz")), json.loads((folder / "cases.json").read_text(encoding="utf-8")))


def flat(value: Any) -> list[np.ndarray]:
    return [np.ravel(one) for one in (value if isinstance(value, list) else [value])]


def alike(ours: Any, theirs: Any) -> bool:
    a, b = flat(ours), flat(theirs)
    whole = isinstance(ours, list) == isinstance(theirs, list) and len(a) == len(b)
    return whole and all(map(close, a, b))


def close(ours: np.ndarray, theirs: np.ndarray) -> bool:
    return ours.shape == theirs.shape and np.allclose(ours, theirs, **CLOSE)


def test_every_case_is_as_keras_gave_it(recorded: Recorded, tmp_path: Path) -> None:
    """Also from a .fastlstm file; and by names."""
    models: dict[str, fastlstm.Model] = {}
    wrong, right = [], 0
    for number, case in enumerate(recorded.told["cases"]):
        if "error" in case:  # this Keras has no such loss or metric
            continue
        name = case["model"]
        if name not in models:
            path = recorded.folder / f"{name}{recorded.told['ending']}"
            if len(models) % 2:
                fastlstm.convert(path, tmp_path / f"{name}.fastlstm")
                path = tmp_path / f"{name}.fastlstm"
            models[name] = fastlstm.load(path)
        options = {key: case.get(key) for key in ("loss", "metrics", "weighted_metrics", "loss_weights")}
        options |= {"batch_size": case.get("batch_size", 4), "sample_weight": recorded.picked(case.get("sample_weight"))}
        given = (recorded.arrays["x"], recorded.picked(case["y"]))
        listed = models[name].evaluate(*given, **options)
        named = models[name].evaluate(*given, return_dict=True, **options)
        same = set(named) == set(case["named"]) and all(close(np.ravel(named[key]), np.ravel(one)) for key, one in case["named"].items())
        if alike(listed, case["listed"]) and same:
            right += 1
        else:
            wrong.append((number, case, listed, named))
    assert not wrong
    assert right >= 80


@pytest.mark.parametrize("path", sorted(RECORDED.glob("crossentropies-*.tar.xz")), ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_crossentropies_behind_activations(path: Path, tmp_path: Path) -> None:
    """Whether a crossentropy goes back to logits, and through what; weights are large, so that many rows are wrong and all but certain."""
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path, filter="data")
    arrays, told = np.load(tmp_path / "cases.npz"), json.loads((tmp_path / "cases.json").read_text(encoding="utf-8"))
    right = 0
    for case in told["cases"]:
        if "error" in case:
            continue
        given = {"loss": case["loss"], "metrics": [case["loss"]], "batch_size": 4}
        listed = fastlstm.load(tmp_path / case["path"]).evaluate(arrays["x"], arrays[case["y"]], **given)
        # Where probabilities are all that a loss is given, the last bit of one near 1 is a ten-thousandth of its logarithm.
        close = {"rtol": 2e-4} if "reshaped" in case["model"] or "distributed" in case["model"] else CLOSE
        np.testing.assert_allclose(listed, case["listed"], **close, err_msg=str(case))
        right += 1
    assert right >= 44


def test_files_are_evaluated_by_what_they_were_compiled_with(recorded: Recorded) -> None:
    found = [one for one in recorded.told["saved"] if "error" not in one]
    assert len(found) >= 4
    for one in found:
        model = fastlstm.load(recorded.folder / one["path"])
        listed = model.evaluate(recorded.arrays["x"], recorded.picked(one["y"]), batch_size=4)
        assert alike(listed, one["listed"]), (one, listed)
