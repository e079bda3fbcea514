"""What the benchmarks say is what was measured: tables, reasons for blank cells, the work that a roofline counts."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the benchmarks, which are not installed, by its name."""
    monkeypatch.syspath_prepend(str(REPOSITORY))

    def get(name: str) -> ModuleType:
        return importlib.import_module(f"benchmarks.{name}")

    return get


@pytest.mark.parametrize(
    "command",
    [
        "benchmarks", "benchmarks.footprint", "benchmarks.sentences", "benchmarks.soak", "benchmarks.batch_engines",
        "benchmarks.serve_load", "benchmarks.serve_streams",
    ],
)  # fmt: skip
def test_commands_of_the_page_start(command: str) -> None:
    """In a process of their own: modules that import each other in a circle work as long as another one has come before."""
    done = subprocess.run([sys.executable, "-m", command, "--help"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


def figures(workload: str, batch: int, engine: str, median: float, threads: int = 1) -> dict[str, Any]:
    """A figure as it is kept."""
    return {
        "workload": workload,
        "batch": batch,
        "engine": engine,
        "label": engine,
        "median": median,
        "iqr": 0.0,
        "rounds": 4,
        "threads": threads,
        "versions": {engine: "1.0"},
        "float32": True,
    }


REFUSED = {"workload": "companion_video", "batch": 16, "engine": "other", "label": "Other", "reason": "it knows no film"}


def kept(folder: Path, name: str, results: list[dict[str, Any]]) -> None:
    found = {"machine": {"processor": "a processor"}, "threads": 1, "refused": [REFUSED], "results": results}
    (folder / f"{name}.json").write_text(json.dumps(found))


def test_companions_stand_beside_their_best_peer_on_both_numbers_of_threads(module: Any, tmp_path: Path) -> None:
    one = [figures("companion_video", 1, "fastlstm", 2e-4), figures("companion_video", 1, "other", 6e-4)]
    two = [figures("companion_video", 1, "fastlstm", 1e-4, 2), figures("companion_video", 1, "other", 5e-4, 2)]
    kept(tmp_path, "companions_1_thread", one)
    kept(tmp_path, "companions_2_threads", two)
    lines = module("readme").companions(tmp_path)
    assert "| companion_video | 1 | 200 | 600 | other | 3.0 | 5.0 |" in "\n".join(lines)
    assert any(line.startswith("- companion_video: ") for line in lines)
    assert not any("companion_crnn" in line for line in lines)
    assert module("readme").companions(tmp_path / "empty") == []


def test_a_machine_without_avx512_has_a_part_of_its_own(module: Any, tmp_path: Path) -> None:
    assert module("readme").without_avx512(tmp_path) == []
    one = [figures("lstm96_T30", 1, "fastlstm", 1e-4), figures("lstm96_T30", 1, "other", 2e-4)]
    one += [figures("lstm96_T30", 48, "fastlstm", 1e-4), figures("lstm96_T30", 48, "other", 3e-4)]
    two = [{**figure, "median": figure["median"] * (0.5 if figure["engine"] == "fastlstm" else 1.0), "threads": 2} for figure in one]
    kept(tmp_path, "avx2_1_thread", one)
    kept(tmp_path, "avx2_2_threads", two)
    text = "\n".join(module("readme").without_avx512(tmp_path))
    assert "2.0 times as fast for one row, 3.0 times for 16 rows and more; on two threads 4.0 and 6.0:" in text
    assert "| lstm96_T30 | 48 | 100 | 300 | other | 3.0 | 6.0 |" in text


def test_engines_for_tables_stand_beside_an_empty_function(module: Any) -> None:
    """Microseconds a row: all, what the engine takes by itself, and what is left for the model."""
    engines = module("batch_engines")
    made = [
        engines.Figure("floats", "alone", engines.ALONE, 1, 1_000_000, 4.0, 3.9, 0.0, 0.0, True),
        engines.Figure("floats", "polars", "polars, map_batches", 1, 1_000_000, 5.5, 5.4, 1.25, 1.2, True),
        engines.Figure("ids", "spark", "Spark, mapInArrow", 2, 1_000_000, 9.0, 8.0, 4.0, 3.0, False),
    ]
    found = {"machine": {"processor": "a processor"}, "versions": {"polars": "2.1"}, "results": [one._asdict() for one in made]}
    text = engines.markdown(found)
    assert "1,000,000 rows" in text and "a processor; polars 2.1." in text
    assert "| predict alone | 4.0 (3.9) | | 4.0 (3.9) | yes |" in text
    assert "| polars, map_batches | 5.5 (5.4) | 1.2 (1.2) | 4.2 (4.2) | yes |" in text
    assert "| Spark, mapInArrow | 9.0 (8.0) | 4.0 (3.0) | 5.0 (5.0) | no |" in text
    assert "20 ids, 2 cores:" in text and "160 floats, 1 core:" in text and "160 floats, 2 cores" not in text


def test_services_stand_beside_each_other(module: Any) -> None:
    """By workers, forms, rows and connections; what was not measured is blank."""
    load = module("serve_load")
    made = [
        load.Figure("fastlstm", "JSON", 1, 1, 16, 10_593, 89, 141, 82),
        load.Figure("empty", "JSON", 1, 1, 16, 15_287, 59, 98, 53),
        load.Figure("by_hand", "binary", 32, 2, 1, 598, 21_240, 123_220, 1649),
    ]
    text = load.markdown(
        {"machine": {"processor": "a processor"}, "versions": {"uvicorn": "1.0"}, "results": [one._asdict() for one in made]}
    )
    assert "a processor; uvicorn 1.0." in text
    assert "| | rows | connections | an empty handler | fastlstm serve | FastAPI and ONNX Runtime by hand |" in text
    assert "| JSON | 1 | 16 | 15,287 (59 / 98) | 10,593 (89 / 141) |  |" in text
    assert "| binary | 32 | 1 |  |  | 598 (21,240 / 123,220) |" in text
    assert text.index("1 worker:") < text.index("15,287") < text.index("2 workers, on whose cores wrk runs too:") < text.index("598")


def test_requests_of_the_load_are_of_their_protocols(module: Any, tmp_path: Path) -> None:
    """Both forms hold the same numbers."""
    import h5_files
    import numpy as np

    load = module("serve_load")
    rng = np.random.default_rng(0)
    h5_files.save(tmp_path / "model.h5", [h5_files.recurrent("LSTM", 4, 8, rng), h5_files.dense(1, 4, rng)], (20, 8))
    kinds = load.kinds(tmp_path, 3)
    told = np.array(json.loads(kinds["fastlstm", "JSON"].body)["instances"], np.float32)
    kind = kinds["fastlstm", "binary"]
    head = int(kind.headers["inference-header-content-length"])
    (tensor,) = json.loads(kind.body[:head])["inputs"]
    raw = np.frombuffer(kind.body[head:], np.float32).reshape(tensor["shape"])
    np.testing.assert_array_equal(told, raw)
    assert tensor["parameters"]["binary_data_size"] == len(kind.body) - head == len(kinds["by_hand", "binary"].body)
    assert kinds["empty", "binary"].body == kind.body


def test_an_empty_function_is_handed_what_a_predictor_is(module: Any) -> None:
    """And gives zeros in the same kind."""
    pa, pd, pl = (pytest.importorskip(name) for name in ("pyarrow", "pandas", "polars"))
    nothing = module("batch_jobs").Nothing("model.h5", inputs="x", outputs="score")
    table = pa.table({"id": [1, 2], "x": pa.array([0.5, 1.5], pa.float32())})
    for batch in (table, table.to_batches()[0], table.to_pandas(), pl.from_arrow(table)):
        found = nothing(batch)
        assert type(found) is type(batch)
        assert list(found["score"].to_numpy()) == [0.0, 0.0] and str(found["score"].to_numpy().dtype) == "float32"
    for column in (table["x"], table["x"].chunk(0), pl.Series([0.5, 1.5])):
        assert type(nothing(column)) is type(column)
        assert list(nothing(column).to_numpy()) == [0.0, 0.0]
    assert type(nothing(pd.Series([0.5, 1.5]))) is pd.Series


def test_results_say_why_cells_are_blank(module: Any, tmp_path: Path) -> None:
    kept(tmp_path, "companions_1_thread", [figures("companion_video", 1, "fastlstm", 2e-4)])
    text = module("readme").everything(tmp_path)
    assert "## Companions of recurrent layers, one thread" in text
    assert "- Other, companion_video: it knows no film" in text


def test_an_engine_that_fails_is_told_and_skipped_and_fastlstm_is_not(module: Any, tmp_path: Path) -> None:
    suite, report, engine = module("suite"), module("report"), module("engine")
    assert suite.reason(engine.UnavailableError("not here")) == "not here"
    assert suite.reason(RuntimeError("first\nsecond")) == "it fails: RuntimeError: first"
    assert suite.reason(AssertionError("1 is not 2")) == "its numbers are not those of Keras"
    path = tmp_path / "refused"
    with pytest.raises(pytest.skip.Exception):
        suite.refuse(report.Refusal(**REFUSED), RuntimeError("first"), path)
    with pytest.raises(RuntimeError):
        suite.refuse(report.Refusal(**{**REFUSED, "engine": "fastlstm"}), RuntimeError("first"), path)
    with pytest.raises(AssertionError):
        suite.refuse(report.Refusal(**REFUSED), AssertionError("1 is not 2"), path)
    assert [json.loads(line)["engine"] for line in path.read_text().splitlines()] == ["other", "fastlstm", "other"]


def test_workloads_have_names_of_their_own_and_the_same_inputs_every_time(module: Any) -> None:
    workloads = module("workloads").WORKLOADS
    assert len({workload.name for workload in workloads}) == len(workloads)
    for workload in workloads:
        first, again = (module("workload").arrays(next(workload.endless(1))) for _ in range(2))
        assert all(np.array_equal(array, again[name]) for name, array in first.items())
        assert all(len(array) == 1 for array in first.values())


def test_many_rows_are_those_of_one_after_the_other(module: Any) -> None:
    (workload,) = (each for each in module("workloads").WORKLOADS if each.name == "companion_activity")
    following = workload.endless(1)
    expected = np.concatenate([next(following) for _ in range(3)])
    assert np.array_equal(workload.many(3), expected)


def test_weights_keep_numbers_near_1(module: Any) -> None:
    scale = module("prepare").scale
    assert scale((64,)) == 0.5
    assert scale((32, 256)) == 1 / math.sqrt(32)
    assert scale((3, 3, 64, 64)) == 1 / math.sqrt(3 * 3 * 64)


def test_work_of_a_convolution_and_of_attention(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    roofline, saved = module("roofline"), module("keras_file").SavedLayer
    config = {"padding": "same", "strides": [1, 1], "groups": 1}
    convolution = saved("Conv2D", config, [np.zeros((3, 3, 4, 8), np.float32), np.zeros(8, np.float32)])
    kernels = [np.zeros(shape, np.float32) for shape in [(6, 2, 5)] * 3 + [(2, 5, 6)]]
    biases = [np.zeros(shape, np.float32) for shape in [(2, 5)] * 3 + [(6,)]]
    weights = [array for both in zip(kernels, biases) for array in both]
    attention = saved("MultiHeadAttention", {"num_heads": 2, "key_dim": 5, "value_dim": None}, weights)
    places = np.full(2, 100)

    monkeypatch.setattr(roofline, "layers", lambda model: [convolution])
    assert roofline.countable(Path())
    assert roofline.work(Path(), places, True, 16).multiply_adds == 2 * 100 * 3 * 3 * 4 * 8
    monkeypatch.setattr(roofline, "layers", lambda model: [attention])
    assert roofline.countable(Path())
    found = roofline.work(Path(), places, True, 16)
    assert found.multiply_adds == 2 * (100 * 4 * 6 * 10 + 100 * 100 * 2 * (5 + 5))
    assert found.softmaxes == 2 * 100 * 100 * 2
    monkeypatch.setattr(roofline, "layers", lambda model: [saved("Conv2D", {**config, "strides": [2, 2]}, convolution.weights)])
    assert not roofline.countable(Path())


def test_a_graph_is_a_chain_where_each_layer_takes_the_one_before_it(module: Any) -> None:
    is_chain = module("keras_file").is_chain
    given = {"name": "x", "inbound_nodes": []}
    attention = {"name": "attention", "inbound_nodes": [[["x", 0, 0, {"value": ["x", 0, 0]}]]]}
    out = {"name": "out", "inbound_nodes": [[["attention", 0, 0, {}]]]}
    residual = {"name": "sum", "inbound_nodes": [[["x", 0, 0, {}], ["attention", 0, 0, {}]]]}
    twice = {"name": "out", "inbound_nodes": [[["attention", 0, 0, {}]], [["attention", 0, 0, {}]]]}
    assert is_chain([given, attention, out])
    assert not is_chain([given, attention, residual])
    assert not is_chain([given, attention, twice])


def test_a_pattern_chooses_workloads_and_numbers_of_rows(module: Any) -> None:
    (workload,) = (each for each in module("workloads").WORKLOADS if each.name == "companion_activity")
    assert workload.chosen("") == workload.chosen("^companion_activity/") == [1, 16]
    assert workload.chosen("relu50_T10/1$|_activity/16$") == [16]
    assert workload.chosen("relu50_T10/1$") == []
