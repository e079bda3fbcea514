"""Scalers and encoders: those of scikit-learn by their public attributes, and plain numbers."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from around_models import OTHER, SCALERS, VERSIONS, as_object

from fastlstm import InputError
from fastlstm.preprocessing import labels, scaling


def scaler_cases() -> list[Any]:
    return [
        pytest.param(case, id=f"{version} {case['class']} {number}")
        for version in VERSIONS
        for number, case in enumerate(SCALERS[version]["scalers"])
    ]


# -- scalers and labels, as scikit-learn has them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", scaler_cases())
def test_scalers_to_the_bit(case: dict[str, Any]) -> None:
    """As objects, as ``vars(scaler)`` in JSON, and from a path to that."""
    for given in (as_object(case), case["attributes"], json.dumps(case["attributes"])):
        found = scaling.scaler_of(given)
        np.testing.assert_array_equal(scaling.scaled(found, OTHER), case["transformed"])
        np.testing.assert_array_equal(scaling.unscaled(found, OTHER), case["inverted"])


def test_scalers_of_plain_numbers() -> None:
    low, high = np.min(SCALERS["fitted"], axis=0), np.max(SCALERS["fitted"], axis=0)
    (fitted,) = [case for case in SCALERS[VERSIONS[-1]]["scalers"] if case["attributes"].get("feature_range") == [-1, 1]]
    found = scaling.scaler_of({"min": low, "max": high.tolist(), "feature_range": (-1, 1)})
    np.testing.assert_array_equal(scaling.scaled(found, OTHER), fitted["transformed"])
    for given in ({"mean": 3, "scale": 2}, {"mean": [3.0], "std": 2}, {"center": 3, "scale": 2}, [{"mean": 3}, {"max_abs": 2}]):
        np.testing.assert_array_equal(scaling.scaled(scaling.scaler_of(given), OTHER), (OTHER - 3) / 2)


@pytest.mark.parametrize("name", scaling.FUNCTIONS)
def test_functions_are_taken_back(name: str) -> None:
    found = scaling.scaler_of([name, {"mean": 0.5}])
    x = np.abs(OTHER) + 0.1
    np.testing.assert_allclose(scaling.unscaled(found, scaling.scaled(found, x)), x, rtol=1e-12)


def test_steps_of_a_pipeline_of_scikit_learn() -> None:
    first, second = SCALERS[VERSIONS[-1]]["scalers"][3], SCALERS[VERSIONS[-1]]["scalers"][0]
    steps = SimpleNamespace(steps=[("a", as_object(first)), ("b", as_object(second))])
    expected = scaling.scaled(scaling.scaler_of(as_object(second)), np.array(first["transformed"]))
    np.testing.assert_array_equal(scaling.scaled(scaling.scaler_of(steps), OTHER), expected)


class Unfitted:
    def fit(self) -> None: ...


@pytest.mark.parametrize(
    "given",
    [
        None, 3, {}, [], {"mean": 1, "other": 2}, {"mean": "a"}, {"mean": [[1]]}, {"mean": float("nan")}, {"mean": 0, "scale": 0}, "square",
        SimpleNamespace(components_=1, mean_=2), SimpleNamespace(lambdas_=1), Unfitted(), [{"mean": [1, 2]}, {"mean": [1, 2, 3]}], "x.json",
        "x.joblib", b"\x80\x04", {"min": 0}, "[" * 10_000, [[]],
    ],
)  # fmt: skip
def test_what_is_no_scaler(given: Any) -> None:
    with pytest.raises(InputError, match="scaler"):
        scaling.scaler_of(given)


def test_a_list_that_holds_itself() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(InputError):
        scaling.scaler_of(circle)


def test_a_pickled_scaler_says_what_to_write(tmp_path: Path) -> None:
    case = SCALERS[VERSIONS[-1]]["scalers"][0]
    (tmp_path / "scaler.pkl").write_bytes(pickle.dumps(as_object(case)))
    with pytest.raises(InputError, match="never read") as caught:
        scaling.scaler_of(tmp_path / "scaler.pkl")
    line = str(caught.value).split("made it: ")[1].replace("scaler.json", str(tmp_path / "scaler.json"))
    exec(line, {"scaler": as_object(case), "json": json})
    np.testing.assert_array_equal(scaling.scaled(scaling.scaler_of(tmp_path / "scaler.json"), OTHER), case["transformed"])


@pytest.mark.parametrize("version", VERSIONS)
def test_encoders(version: str) -> None:
    for case in SCALERS[version]["encoders"]:
        known = np.array(case["labels"], object)
        encoder = SimpleNamespace(categories_=[known]) if case["categories"] else SimpleNamespace(classes_=known)
        assert labels.labels_of(encoder) == tuple(case["labels"])


def test_forms_of_labels(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('["a", "b"]')
    for given in (["a", "b"], np.array(["a", "b"]), {0: "a", 1: "b"}, {"a": 0, "b": 1}, {"0": "a", "1": "b"}, tmp_path / "labels.json"):
        assert labels.labels_of(given) == ("a", "b")
    for wrong in (3, None, [], ["a", "a"], [None], [["a"]], {0: "a", 2: "b"}, Unfitted(), "x.pkl", [float("nan")]):
        with pytest.raises(InputError, match="labels"):
            labels.labels_of(wrong)
