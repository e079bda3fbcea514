"""Predictor where there is no library of tables: dicts of arrays; and its model: once a process, pickled as a path."""

from __future__ import annotations

import doctest
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import batch_models
import numpy as np
import pytest
from around_models import fitted_tokenizer, of_series, of_texts

import fastlstm
from fastlstm.batch import Predictor, loaded, sequences
from fastlstm.demo import MODEL
from fastlstm.errors import FastLSTMError, InputError

X = np.random.default_rng(0).normal(size=(6, 5, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> loaded.Kept:
    """The models of a process that has none."""
    found = loaded.Kept()
    monkeypatch.setattr("fastlstm.batch.predictor.KEPT", found)
    return found


def double(x: np.ndarray) -> np.ndarray:
    return 2 * x


# -- without a library ------------------------------------------------------------------------------------------------------------


WITHOUT = """
import sys
for name in ("pyarrow", "polars"):
    sys.modules[name] = None
import numpy as np, fastlstm
from fastlstm.batch import Predictor
from fastlstm.batch.sequences import Grouper
x = np.random.default_rng(0).random((6, 5, 3), np.float32)
y = fastlstm.load(sys.argv[1]).predict(x)[:, 0]
steps = {"k": np.repeat(np.arange(6), 5), **{name: x.reshape(-1, 3)[:, n].copy() for n, name in enumerate("abc")}}
def by_key(make):
    return Predictor(sys.argv[1], inputs=["a", "b", "c"], key="k", outputs="y")(make(steps))["y"]
assert np.array_equal(Predictor(sys.argv[1], outputs="y")({"x": x})["y"], y)
assert np.array_equal(by_key(dict), y)
assert len(list(Grouper("k").add(steps))) == 1
assert "pandas" not in sys.modules
import pandas as pd
assert np.array_equal(Predictor(sys.argv[1], outputs="y")(pd.DataFrame({"x": list(x)}))["y"].to_numpy(), y)
names = [f"c{n}" for n in range(15)]
flat = pd.DataFrame(x.reshape(6, -1), columns=names)
assert np.array_equal(Predictor(sys.argv[1], inputs=names, outputs="y")(flat)["y"].to_numpy(), y)
flat = flat.astype("Float32")
flat.loc[2, "c3"] = None
found = Predictor(sys.argv[1], inputs=names, outputs="y", nulls="skip")(flat)["y"].to_numpy()
assert np.isnan(found[2]) and np.array_equal(np.delete(found, 2), np.delete(y, 2))
assert np.array_equal(by_key(pd.DataFrame).to_numpy(), y)
assert len(list(Grouper("k").add(pd.DataFrame(steps)))) == 1
print("done")
"""


def test_pandas_and_dicts_need_no_pyarrow(tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(batch_models.fixed(tmp_path / "m.h5"))], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


MISSING = """
import sys
sys.modules["pyarrow"] = None
import polars
from fastlstm.batch import Predictor
try:
    Predictor(sys.argv[1])(polars.DataFrame({"x": [[1.0] * 15]}))
except ValueError as error:
    print(error)
"""


def test_what_pyarrow_reads_says_so_where_it_is_missing(tmp_path: Path) -> None:
    pytest.importorskip("polars")
    done = subprocess.run(
        [sys.executable, "-c", MISSING, str(batch_models.fixed(tmp_path / "m.h5"))], capture_output=True, text=True, check=True
    )
    assert done.stdout == "column 'x': read and written by pyarrow, which is not installed: pip install 'fastlstm[batch]'\n"


def test_only_what_is_given_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\nfrom fastlstm.batch import Predictor\n"
        "Predictor(sys.argv[1])({'x': np.zeros((1, 5, 3))})\n"
        "print(*sorted({'pyarrow', 'pandas', 'polars', 'h5py'} & set(sys.modules)))"
    )
    fastlstm.convert(batch_models.fixed(tmp_path / "m.h5"), tmp_path / "m.fastlstm")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "m.fastlstm")], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


# -- pickles ----------------------------------------------------------------------------------------------------------------------


def test_a_pickle_holds_a_path_and_options() -> None:
    plain = pickle.dumps(Predictor(MODEL))
    assert len(plain) < len(str(Path(MODEL).resolve())) + 110
    used = Predictor(MODEL)
    used(np.zeros((1, 24, 1)))
    assert len(pickle.dumps(used)) == len(plain)
    options: dict[str, Any] = {
        "inputs": {"months": ["a", "b"]}, "outputs": ["y"], "threads": 2,
        "nulls": 0.5, "key": ["k", "l"], "order": "t", "precision": "float64",
    }  # fmt: skip
    again = pickle.loads(pickle.dumps(Predictor(MODEL, **options)))
    assert {name: getattr(again, name) for name in options if name != "precision"} == {n: v for n, v in options.items() if n != "precision"}
    assert again.model.executor.dtype == np.float64
    assert again.model.threads == 2


def test_a_path_holds_wherever_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batch_models.fixed(tmp_path / "m.h5")
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps(Predictor("m.h5"))
    monkeypatch.chdir("/")
    assert pickle.loads(pickled)(X).shape == (6, 1)


def test_functions_are_pickled_by_reference(tmp_path: Path) -> None:
    path = batch_models.fixed(tmp_path / "m.h5")
    plain, own = Predictor(path)(X), Predictor(path, custom_layers={"dense_2": lambda x: x[:, :1] * 0 + 3})
    assert not np.array_equal(own(X), plain)
    with pytest.raises(InputError, match=r"custom_layers\['dense_2'\]: expected a function that a pickle can refer to"):
        pickle.dumps(own)
    named = Predictor(path, custom_activations={"lstm_1:activation": double})
    again = pickle.loads(pickle.dumps(named))
    assert np.array_equal(again(X), named(X))
    assert again.model is named.model


class Named(Predictor):
    """A user's own."""


def test_a_subclass_stays_one() -> None:
    assert type(pickle.loads(pickle.dumps(Named(MODEL, nulls="skip")))) is Named


# -- once a process ---------------------------------------------------------------------------------------------------------------


def test_one_model_for_all_of_the_same_file(tmp_path: Path) -> None:
    path = batch_models.fixed(tmp_path / "m.h5")
    first = Predictor(path).model
    assert Predictor(str(path), inputs="x").model is first
    assert Predictor(path, threads=2).model is not first
    assert Predictor(path, precision="float64").model is not first
    assert Predictor(path, architecture=None).model is first


def test_a_file_that_was_replaced_is_loaded_anew(tmp_path: Path) -> None:
    path, predictor = tmp_path / "m.h5", Predictor(tmp_path / "m.h5")
    batch_models.fixed(path)
    before = predictor(X)
    stood = path.stat()
    batch_models.fixed(tmp_path / "other.h5", outputs=2)
    os.utime(tmp_path / "other.h5", ns=(stood.st_atime_ns, stood.st_mtime_ns))  # as copies that keep times have it
    os.replace(tmp_path / "other.h5", path)
    assert predictor(X).shape == (6, 2)
    os.remove(path)
    assert predictor(X).shape == (6, 2)  # what is loaded stays
    with pytest.raises(FastLSTMError, match="m.h5"):
        Predictor(path)(X)
    batch_models.fixed(path)
    assert np.array_equal(predictor(X), before)


def test_a_folder_of_which_one_file_was_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "a").write_text("a")
    first = loaded.stamp_of(str(folder))
    assert loaded.stamp_of(str(folder)) == first
    os.utime(folder / "inner" / "a", ns=(1, 1))
    assert loaded.stamp_of(str(folder)) != first


def test_few_are_kept(tmp_path: Path, kept: loaded.Kept) -> None:
    path = batch_models.fixed(tmp_path / "m.h5")
    models = []
    for number in range(loaded.MOST_KEPT + 2):
        copy = shutil.copy(path, tmp_path / f"{number}.h5")
        models.append(Predictor(copy).model)
    assert Predictor(tmp_path / f"{loaded.MOST_KEPT + 1}.h5").model is models[-1]
    assert Predictor(tmp_path / "0.h5").model is not models[0]


def test_what_fails_to_load_is_tried_again(tmp_path: Path) -> None:
    path, predictor = tmp_path / "m.h5", Predictor(tmp_path / "m.h5")
    path.write_bytes(b"nothing")
    for _ in range(2):
        with pytest.raises(FastLSTMError):
            predictor(X)
    batch_models.fixed(path)
    assert predictor(X).shape == (6, 1)


def test_threads_share_one_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, loads, barrier = batch_models.fixed(tmp_path / "m.h5"), [], threading.Barrier(8)
    load = loaded.load_either

    def counted(*args: Any, **options: Any) -> Any:
        loads.append(threading.get_ident())
        return load(*args, **options)

    monkeypatch.setattr(loaded, "load_either", counted)
    found: list[np.ndarray] = []

    def run() -> None:
        predictor = Predictor(path)
        barrier.wait()
        found.append(predictor({"x": X})["dense_2"])

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loads) == 1
    assert all(np.array_equal(one, found[0]) for one in found)
    assert len(found) == 8


def _answer(queue: Any, predictor: Predictor) -> None:
    queue.put(predictor({"x": X})["dense_2"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_goes_on(tmp_path: Path, kept: loaded.Kept) -> None:
    """While another thread of the parent holds the locks, which nobody releases in the child."""
    predictor = Predictor(batch_models.fixed(tmp_path / "m.h5"))
    expected = predictor({"x": X})["dense_2"]
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with kept.turn, next(iter(kept.entries.values())).turn:
            held.set()
            done.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_answer, args=(queue, predictor))
    child.start()
    try:
        assert np.array_equal(queue.get(timeout=30), expected)
    finally:
        done.set()
        holder.join()
        child.join(5)
        child.kill()


def test_a_spawned_process_loads_it(tmp_path: Path) -> None:
    predictor = Predictor(batch_models.fixed(tmp_path / "m.h5"))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (found,) = pool.map(predictor, [X])
    assert np.array_equal(found, predictor(X))


# -- pipelines --------------------------------------------------------------------------------------------------------------------


def test_a_pipeline_of_texts(tmp_path: Path) -> None:
    texts = np.array(["the film was great", "not bad", "great"], object)
    pipeline = fastlstm.Pipeline(of_texts(tmp_path, 2, "softmax"), tokenizer=fitted_tokenizer(), maxlen=6, labels=["bad", "good"])
    pipeline.save(tmp_path / "p.fastlstm")
    labels, probabilities = pipeline.predict(texts)
    for name in ("text", "review"):
        found = Predictor(tmp_path / "p.fastlstm")({name: texts})
        assert list(found) == [name, "label", "probability"]
        assert found["label"].tolist() == labels.tolist()
        assert np.array_equal(found["probability"], probabilities.max(axis=1))
    found = Predictor(tmp_path / "p.fastlstm", outputs={"probabilities": "p"})({"text": texts})
    assert np.array_equal(found["p"], probabilities)
    assert list(Predictor(tmp_path / "p.fastlstm", outputs=["l", "p"])({"text": texts})) == ["text", "l", "p"]
    nothing = Predictor(tmp_path / "p.fastlstm")({"text": texts[:0]})
    assert {name: column.dtype.kind for name, column in nothing.items()} == {"text": "O", "label": "U", "probability": "f"}
    with_none = Predictor(tmp_path / "p.fastlstm", nulls="skip")({"text": np.array(["great", None], object)})
    assert with_none["label"].tolist() == [labels[2], None]


def test_a_pipeline_of_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((6, 7, 2))
    scaler = {"mean": [1.0, 2.0], "std": [0.5, 2.0]}
    pipeline = fastlstm.Pipeline(of_series(tmp_path, 2), scaler=scaler, window=7, inverse=0)
    pipeline.save(tmp_path / "p.fastlstm")
    expected = pipeline.predict(x)
    found = Predictor(tmp_path / "p.fastlstm", outputs="y")({"x": x.reshape(6, 14)})
    assert found["y"].dtype == np.float64
    assert np.array_equal(found["y"], expected[:, 0])
    steps = {"k": np.repeat(np.arange(6), 7), "a": x[..., 0].ravel(), "b": x[..., 1].ravel()}
    assert np.array_equal(Predictor(tmp_path / "p.fastlstm", inputs=["a", "b"], outputs="y", key="k")(steps)["y"], expected[:, 0])
    with pytest.raises(InputError, match=r"expected what fits \(any, 7, 2\), found rows of shape \(12,\)"):
        Predictor(tmp_path / "p.fastlstm")({"x": x.reshape(6, 14)[:, :12]})


def test_a_pipeline_of_any_lengths(tmp_path: Path) -> None:
    series = [np.random.default_rng(n).random((length, 2)) for n, length in enumerate([3, 5, 3, 1])]
    pipeline = fastlstm.Pipeline(of_series(tmp_path, 2, steps=None), scaler={"max_abs": [2.0, 3.0]})
    pipeline.save(tmp_path / "p.fastlstm")
    rows = np.empty(4, object)
    rows[:] = series
    assert np.array_equal(Predictor(tmp_path / "p.fastlstm", outputs="y")({"x": rows})["y"], pipeline.predict(series)[:, 0])


def test_a_part_of_a_model(tmp_path: Path) -> None:
    path = batch_models.fixed(tmp_path / "m.h5")
    part = {"outputs": ["lstm_1"]}
    found = Predictor(path, part=part)({"x": X})
    assert np.array_equal(found["lstm_1"], fastlstm.load(path, **part).predict(X))


def test_examples_run() -> None:
    for thing in (Predictor, sequences.Grouper):
        (example,) = (one for one in doctest.DocTestFinder().find(thing, globs={"np": np, "fastlstm": fastlstm}) if one.examples)
        assert doctest.DocTestRunner().run(example).failed == 0
