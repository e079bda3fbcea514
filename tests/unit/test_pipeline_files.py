"""Files of pipelines: saved and loaded, altered, from strangers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import page_files
import pytest
from around_models import SCALERS, TEXTS, VERSIONS, as_object, fitted_tokenizer, of_series, of_texts
from layer_examples import tool
from own_files import header_of, rewrite

import fastlstm
import fastlstm.demo
from fastlstm import FormatError, InputError, Pipeline, UnsupportedError, examples
from fastlstm.cli.main import main
from fastlstm.formats import own_pipeline
from fastlstm.inputs import TensorInfo
from fastlstm.limits import Budget
from fastlstm.preprocessing import Tokenizer
from fastlstm.spec import PipelineSpec
from fastlstm.surroundings import STRING, Labelled, Surroundings

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return fitted_tokenizer()


# -- files ------------------------------------------------------------------------------------------------------------------------


def pipelines(path: Path, tokenizer: Tokenizer) -> list[tuple[Pipeline, Any]]:
    """Of each kind, and raw input for it."""
    return [
        (Pipeline(of_texts(path), tokenizer=tokenizer, labels=["bad", "good"]), TEXTS),
        (Pipeline(of_texts(path, 3, "linear"), tokenizer=tokenizer, maxlen=5, padding="post", labels=[1, "two", 3.5]), TEXTS),
        (Pipeline(of_series(path, 4, 1), scaler=as_object(SCALERS[VERSIONS[-1]]["scalers"][2]), inverse=3), RNG.normal(size=(20, 4))),
        (Pipeline(of_series(path, 1, 3), scaler=["log1p", {"max_abs": 3}], inverse=True), np.abs(RNG.normal(size=20))),
        (Pipeline(of_series(path, 2, 3, None, "softmax"), window=4, labels=["a", "b", "c"]), RNG.normal(size=(9, 2))),
        (Pipeline(of_series(path, 2, 3, None)), RNG.normal(size=(2, 9, 2))),
    ]


def test_saved_and_loaded(tmp_path: Path, tokenizer: Tokenizer) -> None:
    for pipeline, x in pipelines(tmp_path, tokenizer):
        pipeline.save(tmp_path / "p.fastlstm")
        path = str(tmp_path / "p.fastlstm")
        for found in (Pipeline.load(path), Pipeline.load(Path(path).read_bytes(), verify=True), Pipeline.load(path, cache=True)):
            same(found.predict(x), pipeline.predict(x))
            assert repr(found) == repr(pipeline)
        report = fastlstm.verify(path)
        assert report.passed
        assert [case.case for case in report.recorded][-2:] == ["raw input", "answer"]
        found.save(tmp_path / "again.fastlstm")
        Pipeline.load(tmp_path / "again.fastlstm").save(tmp_path / "once_more.fastlstm")
        assert (tmp_path / "once_more.fastlstm").read_bytes() == (tmp_path / "again.fastlstm").read_bytes()


def same(found: Any, expected: Any) -> None:
    parts = zip(found, expected, strict=True) if isinstance(expected, Labelled) else [(found, expected)]
    for one, other in parts:
        np.testing.assert_array_equal(one, other)


def test_isolated(tmp_path: Path, tokenizer: Tokenizer) -> None:
    pipeline, x = pipelines(tmp_path, tokenizer)[1]
    pipeline.save(tmp_path / "p.fastlstm")
    same(Pipeline.load(tmp_path / "p.fastlstm", isolated=True).predict(x), pipeline.predict(x))
    assert fastlstm.verify(tmp_path / "p.fastlstm", isolated=True).passed


def test_a_converted_pipeline_is_one(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """With its recorded example, which is run again."""
    for number, (pipeline, x) in enumerate(pipelines(tmp_path, tokenizer)):
        pipeline.save(tmp_path / f"{number}.fastlstm")
        fastlstm.convert(tmp_path / f"{number}.fastlstm", tmp_path / "q.fastlstm", isolated=number == 1)
        same(Pipeline.load(tmp_path / "q.fastlstm").predict(x), pipeline.predict(x))
        assert fastlstm.verify(tmp_path / "q.fastlstm").passed
    assert main(["convert", str(tmp_path / "0.fastlstm"), str(tmp_path / "q.fastlstm"), "-q"]) == 0
    assert Pipeline.load(tmp_path / "q.fastlstm").labels == ("bad", "good")


def test_load_refuses_to_drop_a_pipeline(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """And says what to do, which works."""
    pipelines(tmp_path, tokenizer)[0][0].save(tmp_path / "p.fastlstm")
    path = str(tmp_path / "p.fastlstm")
    for attempt in (lambda: fastlstm.load(path), lambda: fastlstm.convert(path, tmp_path / "q.fastlstm", outputs=["dense"])):
        with pytest.raises(InputError, match="fastlstm.Pipeline.load") as caught:
            attempt()
        whole, alone = (part.strip() for part in str(caught.value).split("load it with ")[1].split(", or the network alone with "))
        assert isinstance(eval(whole, {"fastlstm": fastlstm}), Pipeline)  # noqa: S307 - the advice as it stands
        assert isinstance(eval(alone, {"fastlstm": fastlstm}), fastlstm.Model)  # noqa: S307
    fastlstm.convert(fastlstm.demo.MODEL, tmp_path / "m.fastlstm")
    with pytest.raises(InputError, match="found a model alone"):
        Pipeline.load(tmp_path / "m.fastlstm")
    found = fastlstm.describe(path)
    assert found.before
    assert found.after == ("probabilities to 2 labels: bad, good",)


def test_altered_examples_are_noticed(tmp_path: Path, tokenizer: Tokenizer) -> None:
    for pipeline, _ in pipelines(tmp_path, tokenizer)[:5]:
        pipeline.save(tmp_path / "p.fastlstm")
        header = header_of(tmp_path / "p.fastlstm")
        spec = header["model"]["pipeline"]
        if spec["words"]:
            spec["words"]["index"]["film"] += 1
            spec["labels"] = spec["labels"][::-1]
        elif spec["scaler"]:
            spec["scaler"]["steps"][-1]["values"] = [value + 1 for value in spec["scaler"]["steps"][-1]["values"]]
        else:
            spec["logits"] = True
        rewrite(tmp_path / "p.fastlstm", header)
        assert not fastlstm.verify(tmp_path / "p.fastlstm").passed


def test_older_files_have_none(tmp_path: Path) -> None:
    fastlstm.convert(fastlstm.demo.MODEL, tmp_path / "m.fastlstm")
    header = header_of(tmp_path / "m.fastlstm")
    assert "pipeline" not in header["model"]
    header["format_version"] = 3
    rewrite(tmp_path / "m.fastlstm", header)
    assert fastlstm.verify(tmp_path / "m.fastlstm").passed


WRONG: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 1 << 62, "", "x", [], {}, [None], [1, 2], {"a": 1}, "sqrt", [[]], {"op": "add", "values": [1]}, 1e308,
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all values in JSON."""
    inner = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    return [path, *(place for key, one in inner[:6] for place in places(one, (*path, key)))]


def test_mutated_headers(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """Every value in turn is another one: a pipeline, or an error of this package, never a raw exception."""
    outcomes = {"read": 0, "refused": 0}
    for pipeline, x in (pipelines(tmp_path, tokenizer)[1], pipelines(tmp_path, tokenizer)[2]):
        pipeline.save(tmp_path / "p.fastlstm")
        original = (tmp_path / "p.fastlstm").read_bytes()
        text = json.dumps(header_of(tmp_path / "p.fastlstm"))
        for number, place in enumerate(places(json.loads(text)["model"]["pipeline"])):
            for wrong in WRONG[number % 3 :: 3]:
                header = json.loads(text)
                target = header["model"]
                for key in ("pipeline", *place)[:-1]:
                    target = target[key]
                target[("pipeline", *place)[-1]] = wrong
                (tmp_path / "p.fastlstm").write_bytes(original)
                rewrite(tmp_path / "p.fastlstm", header)
                try:
                    found = Pipeline.load(tmp_path / "p.fastlstm")
                    found.predict(x)
                    fastlstm.verify(tmp_path / "p.fastlstm")
                    outcomes["read"] += 1
                except (FormatError, InputError, UnsupportedError):
                    outcomes["refused"] += 1
    assert outcomes["refused"] > 100
    assert outcomes["read"] > 5


def test_what_does_not_fit_its_model(tmp_path: Path, tokenizer: Tokenizer) -> None:
    pipelines(tmp_path, tokenizer)[0][0].save(tmp_path / "p.fastlstm")
    for change in ({"labels": ["a", "b", "c"]}, {"window": 3}):
        header = header_of(tmp_path / "p.fastlstm")
        header["model"]["pipeline"].update(change)
        rewrite(tmp_path / "p.fastlstm", header)
        for attempt in (Pipeline.load, fastlstm.verify):
            with pytest.raises(FormatError, match="does not fit"):
                attempt(tmp_path / "p.fastlstm")
    header["model"]["pipeline"]["words"]["index"]["film"] = None
    rewrite(tmp_path / "p.fastlstm", header)
    with pytest.raises(FormatError, match="index"):
        Pipeline.load(tmp_path / "p.fastlstm")


def test_sizes_meet_the_budget(tmp_path: Path, tokenizer: Tokenizer) -> None:
    pipelines(tmp_path, tokenizer)[1][0].save(tmp_path / "p.fastlstm")
    header = header_of(tmp_path / "p.fastlstm")
    header["model"]["pipeline"]["maxlen"] = 1 << 40
    rewrite(tmp_path / "p.fastlstm", header)
    with pytest.raises(FormatError, match="maxlen"):
        Pipeline.load(tmp_path / "p.fastlstm")


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs as it stands, and prints what it says."""
    monkeypatch.chdir(tmp_path)
    page_files.examples(tmp_path, "reviews.keras", "words.json")
    tool("run_page").run(Path(__file__).parents[2] / "docs" / "pipelines.md")


def test_of_models_that_take_texts() -> None:
    """The network is given texts as they are: an example has none of its input as an array."""
    inputs, outputs = (TensorInfo("x", (None,), STRING),), (TensorInfo("y", (None, 3), "float32"),)
    spec = PipelineSpec(labels=("a", "b", "c"))
    surroundings, example = Surroundings(spec, inputs, outputs), examples.record(spec, inputs, outputs)
    assert surroundings.prepare("a text") == ["a text"]
    assert surroundings.prepare(np.array([["a"], [b"b".decode()]])) == ["a", "b"]
    assert example is not None
    assert not example.given
    arrays: dict[str, np.ndarray] = {}

    def keep(array: np.ndarray) -> str:
        arrays[str(len(arrays))] = array
        return str(len(arrays) - 1)

    entry = json.loads(json.dumps(own_pipeline.encoded(replace(spec, example=example), keep)))
    found = own_pipeline.decoded(entry, lambda name: arrays[name], Budget.unlimited())
    assert [case.equal for case in examples.check(Surroundings(found, inputs, outputs))] == [True, True]
    with pytest.raises(InputError, match="takes texts itself"):
        Surroundings(PipelineSpec(maxlen=3, window=3), inputs, outputs)
