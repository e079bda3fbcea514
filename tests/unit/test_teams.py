"""Threads that divide the units of a layer among them, where weights are large and rows few."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import h5_files
import numpy as np
import pytest

import fastlstm
from fastlstm.model import Model
from fastlstm.runtime.team import Team
from fastlstm.runtime.threads import Task

CELLS = {"LSTM": {}, "GRU": {"reset_after": True}, "GRU before": {"reset_after": False}, "SimpleRNN": {}}


@pytest.fixture
def divided() -> Iterator[None]:
    """However small layers and batches are."""
    with patch("fastlstm.layers.cells.DIVIDED_WEIGHTS", 1), patch("fastlstm.runtime.threads.SHARED_NANOSECONDS", 0):
        yield


def recurrent(cell: str, units: int, features: int, seed: int = 0, **options: object) -> h5_files.Layer:
    return h5_files.recurrent(cell.split()[0], units, features, np.random.default_rng(seed), **CELLS[cell], **options)


def together(path: Path, threads: int) -> Model:
    """The model, which must divide its units."""
    model = fastlstm.load(path, threads=threads)
    program = model.executor.example_program()
    assert program is not None
    assert program.members == threads
    return model


@pytest.mark.usefixtures("divided")
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("threads", [2, 3])
def test_same_bits_as_one_thread(tmp_path: Path, cell: str, threads: int) -> None:
    """One after the other, in both directions, with every step's output and the last, of any number of rows."""
    rng = np.random.default_rng(1)
    forward, backward = (recurrent(cell, 40, 70, seed, return_sequences=True) for seed in (2, 3))
    layers = [
        recurrent(cell, 70, 20, return_sequences=True), h5_files.bidirectional(forward, backward.weights),
        recurrent(cell, 33, 80, 4), h5_files.dense(3, 33, rng),
    ]  # fmt: skip
    for masks in ([], [h5_files.masking(0.0)]):
        path = h5_files.save(tmp_path / "model.h5", [*masks, *layers], (None, 20))
        one, several = fastlstm.load(path), together(path, threads)
        for rows, timesteps in ((1, 30), (2, 1), (5, 9), (7, 4), (30, 6)):
            x = rng.normal(size=(rows, timesteps, 20)).astype(np.float32)
            x[rng.random((rows, timesteps)) < 0.4] = 0.0
            assert several.predict(x).tobytes() == one.predict(x).tobytes()
        sequences = [np.ascontiguousarray(row[: 1 + number % 6]) for number, row in enumerate(x)]
        assert several.predict(sequences).tobytes() == one.predict(sequences).tobytes()
        assert several.executor.workers.pool is not None


@pytest.mark.usefixtures("divided")
def test_ids(tmp_path: Path) -> None:
    """A folded Embedding, and one that is read where it lies."""
    rng = np.random.default_rng(0)
    layers = [h5_files.embedding(50, 9, rng, True), recurrent("LSTM", 70, 9), h5_files.dense(2, 70, rng)]
    path = h5_files.save(tmp_path / "model.h5", layers, (None,))
    for limit in (0, 1 << 30):
        one, three = (fastlstm.load(path, threads=threads, fold_limit=limit) for threads in (1, 3))
        for rows in (1, 4, 20):
            ids = rng.integers(0, 50, (rows, 12)) * (rng.random((rows, 12)) < 0.7)
            assert three.predict(ids).tobytes() == one.predict(ids).tobytes()


@pytest.mark.usefixtures("divided")
def test_states_are_carried(tmp_path: Path) -> None:
    layers = [recurrent("LSTM", 50, 6, return_sequences=True, stateful=True), recurrent("GRU", 40, 50, stateful=True)]
    path = h5_files.save(tmp_path / "model.h5", layers, (None, 6), batch=3)
    one, three = fastlstm.load(path), together(path, 3)
    for _ in range(3):
        x = np.random.default_rng(0).normal(size=(3, 5, 6))
        assert three.predict(x).tobytes() == one.predict(x).tobytes()


def test_only_where_weights_are_large(tmp_path: Path) -> None:
    """Else the rows are divided. Small layers of a model are one thread's, and what runs in NumPy is nobody's to divide."""
    large = h5_files.save(tmp_path / "large.h5", [recurrent("LSTM", 256, 20, return_sequences=True), recurrent("LSTM", 8, 256)], (None, 20))
    program = together(large, 2).executor.example_program()
    assert program is not None
    assert [i.members for i in program.instructions if i.kernel == "lstm"] == [2, 1]
    x = np.random.default_rng(0).normal(size=(1, 40, 20))
    assert together(large, 2).predict(x).tobytes() == fastlstm.load(large).predict(x).tobytes()
    for name, options, own in (("small", {"units": 64}, {}), ("numpy", {"units": 256, "activation": "mine"}, {"mine": np.tanh})):
        path = h5_files.save(tmp_path / f"{name}.h5", [recurrent("LSTM", features=20, **options)], (None, 20))
        program = fastlstm.load(path, threads=2, custom_activations=own).executor.example_program()
        assert program is not None
        assert program.members == 1


@pytest.mark.usefixtures("divided")
def test_many_callers_of_one_model(tmp_path: Path) -> None:
    """One of them has the other threads' help at a time, the others do without."""
    model = together(h5_files.save(tmp_path / "model.h5", [recurrent("GRU", 40, 8)], (None, 8)), 3)
    batches = [np.random.default_rng(n).normal(size=(1 + n % 5, 6, 8)) for n in range(20)]
    expected = [model.predict(x).tobytes() for x in batches]

    def work(number: int) -> bool:
        return all(model.predict(x).tobytes() == y for _ in range(10) for x, y in zip(batches, expected, strict=True))

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))


@pytest.mark.usefixtures("divided")
@pytest.mark.parametrize("few", [0, 1])
@pytest.mark.parametrize("rows", [1, 400])
def test_threads_that_cannot_start(tmp_path: Path, few: int, rows: int) -> None:
    """The call does with those that did, or with its own alone; once there are threads again, it has them."""
    model = together(h5_files.save(tmp_path / "model.h5", [recurrent("LSTM", 40, 8)], (None, 8)), 3)
    x = np.random.default_rng(0).normal(size=(rows, 6, 8))
    expected = fastlstm.load(tmp_path / "model.h5").predict(x)
    begun: list[threading.Thread] = []

    class Full(threading.Thread):
        def start(self) -> None:
            if len(begun) == few:
                raise RuntimeError("can't start new thread")
            begun.append(self)
            super().start()

    with patch("threading.Thread", Full):
        assert model.predict(x).tobytes() == expected.tobytes()
    assert len(begun) == few
    assert (model.executor.workers.pool is None) == (few == 0)
    assert model.predict(x).tobytes() == expected.tobytes()
    assert model.executor.workers.pool is not None


def test_workers_go_with_their_model(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    model = fastlstm.load(h5_files.save(tmp_path / "model.h5", [recurrent("LSTM", 40, 8)], (None, 8)), threads=3)
    with patch("fastlstm.runtime.threads.SHARED_NANOSECONDS", 0):
        model.predict(np.zeros((30, 6, 8)))
    workers = set(threading.enumerate()) - before
    assert len(workers) == 2
    del model
    gc.collect()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()


@pytest.mark.parametrize(("units", "steps", "shared"), [(256, 2, False), (256, 200, True)])
def test_little_work_is_done_by_one_thread(tmp_path: Path, units: int, steps: int, shared: bool) -> None:
    """However large a layer is: a thread that is woken up for less than half a millisecond is no help."""
    layers = [recurrent("LSTM", units, 8), h5_files.dense(3, units, np.random.default_rng(2))]
    model = together(h5_files.save(tmp_path / "model.h5", layers, (None, 8)), 2)
    for _ in range(4):  # the first ones are timed
        model.predict(np.zeros((1, steps, 8), np.float32))
    assert (model.executor.workers.pool is not None) == shared


def test_what_a_team_leaves_to_one_thread_does_not_count(tmp_path: Path) -> None:
    """Both directions are computed at once; layers that one thread computes do not make waking another one up worth while."""
    forward, backward = (recurrent("LSTM", 24, 8, seed, return_sequences=True) for seed in (2, 3))
    large = recurrent("LSTM", 300, 48, 4)
    path = h5_files.save(tmp_path / "model.h5", [h5_files.bidirectional(forward, backward.weights), large], (9, 8))
    program = together(path, 2).executor.example_program()
    assert program is not None
    direction, divided = 9 * (8 + 24) * 4 * 24, 9 * (48 + 300) * 4 * 300
    assert 2 * direction + divided <= program.divided_work <= 1.1 * (2 * direction + divided)
    assert program.divided_work <= program.work


@pytest.mark.usefixtures("divided")
@pytest.mark.parametrize("rows", [1, 400])
def test_an_error_in_one_part_ends_all(tmp_path: Path, rows: int) -> None:
    """The caller gets it once nobody computes any more, and the next call is right."""
    model = together(h5_files.save(tmp_path / "model.h5", [recurrent("LSTM", 40, 8)], (None, 8)), 3)
    x = np.ones((rows, 6, 8))
    expected = model.predict(x)
    serve = Task.run

    def fail(task: Task) -> None:
        task.function = lambda *_: 1 // 0
        serve(task)

    with patch.object(Task, "run", fail), pytest.raises(ZeroDivisionError):
        model.predict(x)
    assert model.predict(x).tobytes() == expected.tobytes()


@pytest.mark.usefixtures("divided")
def test_wrong_numbers(tmp_path: Path) -> None:
    model = together(h5_files.save(tmp_path / "model.h5", [recurrent("LSTM", 40, 8)], (None, 8)), 3)
    runner, _ = model.executor.prepared(((6, 8),))
    x, y = np.ones((2, 6, 8), np.float32), np.empty((2, 40), np.float32)
    for members in (0, 1, 4):
        with pytest.raises(ValueError, match="expected 2 to 3 members"):
            Team(runner, [x], [y], [], members)
    with pytest.raises(ValueError, match="expected a contiguous array"):
        Team(runner, [x], [y[:1]], [], 2)
    for member in (-1, 2):
        with pytest.raises(ValueError, match="expected a member below 2"):
            Team(runner, [x], [y], [], 2).work(member)


@pytest.mark.usefixtures("divided")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own(tmp_path: Path) -> None:
    """Even if it was forked in the middle of a call that the parent's threads share."""
    model = together(h5_files.save(tmp_path / "model.h5", [recurrent("LSTM", 40, 8)], (None, 8)), 2)
    x = np.ones((2, 6, 8))
    expected = model.predict(x)
    parents = model.executor.workers.pool
    assert parents is not None
    with parents.free:
        child = os.fork()
        if child == 0:
            wrong = True
            try:
                wrong = model.predict(x).tobytes() != expected.tobytes() or model.executor.workers.pool is parents
            finally:
                os._exit(wrong)
    assert os.waitpid(child, 0)[1] == 0


def test_directions_at_the_same_time(tmp_path: Path) -> None:
    """In a team that divides convolutions, each direction is a thread's; both write side by side, or what is merged afterwards."""
    rng = np.random.default_rng(3)
    config = {"filters": 64, "kernel_size": [5], "padding": "same"}
    arrays = [h5_files.random(rng, 5, 32, 64), h5_files.random(rng, 64)]
    convolution = h5_files.Layer({"class_name": "Conv1D", "config": config}, arrays)
    for seed, merge_mode in enumerate(("concat", "sum", "ave")):
        forward, backward = (recurrent("LSTM", 24, 64, seed + n, return_sequences=True) for n in (5, 6))
        both = h5_files.bidirectional(forward, backward.weights, merge_mode=merge_mode)
        path = h5_files.save(
            tmp_path / f"{merge_mode}.h5", [convolution, both, h5_files.dense(3, 48 if seed == 0 else 24, rng)], (None, 32)
        )
        one, several = fastlstm.load(path), fastlstm.load(path, threads=2)
        x = rng.normal(size=(1, 300, 32)).astype(np.float32)
        _, program = several.executor.prepared((x.shape[1:],))
        assert program.members == 2
        assert [instruction.kernel for instruction in program.instructions if instruction.beside] == ["lstm"]
        expected = one.predict(x)
        with patch("fastlstm.runtime.threads.SHARED_NANOSECONDS", 0):
            for _ in range(20):
                np.testing.assert_array_equal(several.predict(x), expected)
