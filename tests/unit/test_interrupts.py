"""Ctrl-C in the middle of a call: answered soon, by every thread of it, and nothing is half done."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import h5_files
import numpy as np
import pytest
from sweeping import swept

import fastlstm

#: Seconds until an interruption must have been answered: one, and what a busy machine may need.
SOON = 4
#: And what the calls here would take at least, on any machine, if nobody interrupted them.
PROLOGUE = """
import json, os, signal, sys, threading, time
import numpy as np
import fastlstm

signal.signal(signal.SIGINT, signal.default_int_handler)  # children of a shell's background ignore it

def interrupted(work, after=0.7):
    '''Seconds from Ctrl-C until ``work`` was left by it.'''
    sent = []
    def send():
        time.sleep(after)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        work()
        ended = "it ended by itself"
    except KeyboardInterrupt:
        ended = time.monotonic() - sent[0]
    sender.join()
    return ended

def answer(**found):
    json.dump(found, sys.stdout)

rng = np.random.default_rng(0)
path = sys.argv[1]
"""


def ran(script: str, *arguments: object) -> dict[str, object]:
    """The answer of a script."""
    command = [sys.executable, "-c", PROLOGUE + script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return json.loads(done.stdout)


def layers_of(kind: str) -> tuple[list[h5_files.Layer], int]:
    """A model that is long at work in one kernel, and its number of features."""
    rng = np.random.default_rng(0)
    if kind == "dense":
        return [h5_files.dense(2000, 1000, rng)], 1000
    if kind == "pool":
        config = {"pool_size": 4000, "strides": 1, "padding": "valid"}
        return [h5_files.Layer({"class_name": "MaxPooling1D", "config": config}, [])], 8
    if kind == "convolution":
        weights = [h5_files.random(rng, 200, 8, 512), h5_files.random(rng, 512)]
        return [h5_files.Layer({"class_name": "Conv1D", "config": {"filters": 512, "kernel_size": [200]}}, weights)], 8
    if kind == "by channel":
        weights = [h5_files.random(rng, 4000, 8, 1), h5_files.random(rng, 1, 8, 1)]
        config = {"filters": 1, "kernel_size": [4000], "use_bias": False}
        return [h5_files.Layer({"class_name": "SeparableConv1D", "config": config}, weights)], 8
    if kind == "many layers":
        return [h5_files.recurrent("SimpleRNN", 30, 30, rng, return_sequences=True) for _ in range(40)], 30
    options = {"GRU": {"reset_after": True}, "GRU before": {"reset_after": False}}.get(kind, {})
    return [h5_files.recurrent(kind.split()[0], 512, 8, rng, **options)], 8


#: What is interrupted.
KINDS = ("LSTM", "GRU", "GRU before", "SimpleRNN", "dense", "pool", "convolution", "by channel", "many layers")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "rows"), swept(itertools.product(KINDS, (1, 300)), lambda one: (KINDS.index(one[0]) % 2 == 1) == (one[1] == 300))
)
def test_wherever_it_is(tmp_path: Path, kind: str, rows: int) -> None:
    layers, features = layers_of(kind)
    path = h5_files.save(tmp_path / "model.h5", layers, (None, features))
    steps = {"dense": 60_000, "pool": 2_000_000, "by channel": 2_000_000, "many layers": 800_000}.get(kind, 1_500_000) // rows
    script = f"""
model = fastlstm.load(path)
few, x = np.ones((2, 5000, {features}), np.float32), np.zeros(({rows}, {max(steps, 5000)}, {features}), np.float32)
if {kind!r} not in ("pool", "convolution", "by channel"):
    few = few[:, :9].copy()
expected = model.predict(few).tobytes()
took = [interrupted(lambda: model.predict(x)) for _ in range(2)]
answer(took=took, same=model.predict(few).tobytes() == expected)
"""
    found = ran(script, path)
    assert all(isinstance(seconds, float) and seconds < SOON for seconds in found["took"]), found
    assert found["same"]


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 300])
def test_in_several_threads(tmp_path: Path, rows: int) -> None:
    """Members of a team, and those that share the rows: none goes on, and the process ends."""
    layers = [h5_files.recurrent("LSTM", 512, 8, np.random.default_rng(0))]
    path = h5_files.save(tmp_path / "model.h5", layers, (None, 8))
    script = f"""
import fastlstm.runtime.threads
fastlstm.runtime.threads.SHARED_NANOSECONDS = 0
model = fastlstm.load(path, threads=3)
few, x = np.ones(({rows}, 9, 8), np.float32), np.zeros(({rows}, {1_500_000 // rows}, 8), np.float32)
expected = model.predict(few).tobytes()
took = [interrupted(lambda: model.predict(x)) for _ in range(2)]
start = time.process_time()
time.sleep(1)
answer(took=took, same=model.predict(few).tobytes() == expected, busy=time.process_time() - start)
"""
    found = ran(script, path)
    assert all(isinstance(seconds, float) and seconds < SOON for seconds in found["took"]), found
    assert found["same"]
    assert found["busy"] < 0.8


@pytest.mark.slow
def test_while_it_waits_for_another_thread(tmp_path: Path) -> None:
    """Its own rows are masked and done at once; those of its worker are not."""
    layers = [h5_files.masking(0.0), h5_files.recurrent("LSTM", 512, 8, np.random.default_rng(0))]
    path = h5_files.save(tmp_path / "model.h5", layers, (None, 8))
    script = """
import fastlstm.runtime.threads
from fastlstm.layers import cells
cells.DIVIDED_WEIGHTS = 1 << 62
model = fastlstm.load(path, threads=2)
x = np.zeros((4, 300_000, 8), np.float32)
x[2:] = 1
answer(took=interrupted(lambda: model.predict(x), 2))
"""
    found = ran(script, path)
    assert isinstance(found["took"], float), found
    assert found["took"] < SOON


@pytest.mark.slow
@pytest.mark.parametrize("threads", swept([1, 2], lambda threads: threads == 2))
def test_states_are_those_from_before(tmp_path: Path, threads: int) -> None:
    """Of stateful models, and of streams in every way of advancing them."""
    rng = np.random.default_rng(0)
    first = h5_files.recurrent("LSTM", 256, 8, rng, return_sequences=True, stateful=True)
    layers = [first, h5_files.recurrent("GRU", 256, 256, rng, stateful=True)]
    path = h5_files.save(tmp_path / "model.h5", layers, (None, 8), batch=2)
    script = f"""
model, alone = fastlstm.load(path, threads={threads}), fastlstm.load(path)
few, x = rng.normal(size=(2, 2, 5, 8)).astype(np.float32), np.ones((2, 400_000, 8), np.float32)
same = []
for part in few:
    same.append(model.predict(part).tobytes() == alone.predict(part).tobytes())
    took = [interrupted(lambda: model.predict(x))]
stream = model.stream(2)
stream.feed(few[0])
before = stream.state
for work in (lambda: stream.feed(x), lambda: stream.feed(x[:1], rows=[1])):
    took.append(interrupted(work))
    same.append(all((stream.state[name] == before[name]).all() for name in before))
wide = model.stream(20_000)
steps = np.ones((20_000, 8), np.float32)
wide.step(steps)
for _ in range(3):  # in a step, or between two
    before = wide.state
    def work():
        global before
        while True:
            before, _ = wide.state, wide.step(steps)
    took.append(interrupted(work, 0.2))
    after = wide.state
    expected = model.stream(20_000)
    expected.load_state(before)
    expected.step(steps)
    whole = [expected.state, before]
    same.append(any(all((after[name] == state[name]).all() for name in after) for state in whole))
answer(took=took, same=same)
"""
    found = ran(script, path)
    assert all(isinstance(seconds, float) and seconds < SOON for seconds in found["took"]), found
    assert all(found["same"]), found


@pytest.mark.slow
def test_only_the_main_thread_is_interrupted(tmp_path: Path) -> None:
    """As ever in Python: the others go on, and compute what they would have."""
    path = h5_files.save(tmp_path / "model.h5", [h5_files.recurrent("LSTM", 128, 8, np.random.default_rng(0))], (None, 8))
    script = """
model = fastlstm.load(path)
x = rng.normal(size=(6, 20_000, 8)).astype(np.float32)
expected, results = model.predict(x).tobytes(), []
def work():
    ended = time.monotonic() + 3
    while time.monotonic() < ended:
        results.append(model.predict(x).tobytes() == expected)
thread = threading.Thread(target=work)
thread.start()
took = interrupted(lambda: thread.join())
thread.join()
answer(took=took, results=results)
"""
    found = ran(script, path)
    assert isinstance(found["took"], float), found
    assert found["results"]
    assert all(found["results"])


@pytest.mark.slow
def test_handlers_that_do_not_raise(tmp_path: Path) -> None:
    """They run while the call goes on, which may be of the same model, and change nothing."""
    path = h5_files.save(tmp_path / "model.h5", [h5_files.recurrent("LSTM", 128, 8, np.random.default_rng(0))], (None, 8))
    script = """
model = fastlstm.load(path)
x = rng.normal(size=(6, 40_000, 8)).astype(np.float32)
few = x[:, :9].copy()
expected, short, results, calls = model.predict(x).tobytes(), model.predict(few).tobytes(), [], []
def handler(*_):
    results.append(model.predict(few).tobytes() == short)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.2, 0.2)
while len(results) < 8:
    calls.append(model.predict(x).tobytes() == expected)
signal.setitimer(signal.ITIMER_REAL, 0)
answer(results=results, calls=calls)
"""
    found = ran(script, path)
    assert all(found["results"])
    assert all(found["calls"])


@pytest.mark.slow
@pytest.mark.parametrize("rows", swept([1, 300], lambda rows: rows == 300))
def test_handlers_that_predict_amid_threads(tmp_path: Path, rows: int) -> None:
    """The workers wait for the thread that the handler interrupts: its call does without them, whether it has few rows or many."""
    path = h5_files.save(tmp_path / "model.h5", [h5_files.recurrent("LSTM", 512, 8, np.random.default_rng(0))], (None, 8))
    script = f"""
import fastlstm.runtime.threads
fastlstm.runtime.threads.SHARED_NANOSECONDS = 0
model = fastlstm.load(path, threads=2)
x = rng.normal(size=({rows}, {6000 // rows + 30}, 8)).astype(np.float32)
others = [rng.normal(size=(count, 9, 8)).astype(np.float32) for count in (1, 400)]
expected, same, results = model.predict(x).tobytes(), [model.predict(other).tobytes() for other in others], []
def handler(*_):
    results.append([model.predict(other).tobytes() for other in others] == same)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.3)
calls, ended = [], time.monotonic() + 60
while len(results) < 4 and time.monotonic() < ended:
    calls.append(model.predict(x).tobytes() == expected)
signal.setitimer(signal.ITIMER_REAL, 0)
answer(results=results, calls=calls, inside=threading.get_ident() in model.executor.workers.pool.inside)
"""
    found = ran(script, path)
    assert len(found["results"]) >= 4
    assert all(found["results"])
    assert all(found["calls"])
    assert not found["inside"]


@pytest.mark.slow
def test_handlers_of_the_thread_that_is_inside(tmp_path: Path) -> None:
    """A stateful model and a Stream cannot be used in the middle of their own call: they say so, and the call goes on."""
    layers = [h5_files.recurrent("LSTM", 256, 8, np.random.default_rng(0), stateful=True)]
    path = h5_files.save(tmp_path / "model.h5", layers, (None, 8), batch=2)
    script = """
import copy, pickle
model, alone = fastlstm.load(path), fastlstm.load(path)
few, x = rng.normal(size=(2, 3, 8)).astype(np.float32), rng.normal(size=(2, 40_000, 8)).astype(np.float32)
stream = model.stream(2)
told = []
def handler(*_):
    for work in works:
        try:
            work()
            told.append("nothing")
        except fastlstm.InputError as error:
            told.append(str(error))
signal.signal(signal.SIGALRM, handler)
same = []
for works, call, fresh in (
    ([model.reset_states, lambda: model.predict(few), lambda: pickle.dumps(model), lambda: copy.copy(model)], model.predict, alone.predict),
    ([lambda: stream.state, stream.reset, lambda: stream.reset([0]), lambda: stream.step(few[:, 0]), stream.copy],
     stream.feed, alone.stream(2).feed),
):
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    found = [call(x), call(few)]
    same.append([y.tobytes() for y in found] == [fresh(part).tobytes() for part in (x, few)])
model.reset_states()
answer(told=told, same=same, usable=model.predict(few).shape == (2, 256))
"""
    found = ran(script, path)
    assert len(found["told"]) == 9
    assert all("in use by this very thread" in told for told in found["told"]), found
    assert "model.h5" in found["told"][0]
    assert all(found["same"])
    assert found["usable"]


@pytest.mark.parametrize("place", ["numpy.concatenate", "fastlstm.model.as_returned", "fastlstm.model.report"])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_interrupted_behind_the_last_kernel(tmp_path: Path, place: str, precision: str) -> None:
    """A stateful model's call that raises leaves its states alone, however far it has come."""
    layers = [h5_files.recurrent("LSTM", 5, 4, np.random.default_rng(0), return_sequences=True, stateful=True)]
    path = h5_files.save(tmp_path / "model.h5", layers, (None, 4), batch=2)
    model, alone = (fastlstm.load(path, precision=precision) for _ in range(2))
    parts = np.random.default_rng(1).normal(size=(2, 6, 3, 4))
    expected = [alone.predict(x).tobytes() for x in parts]
    assert model.predict(parts[0]).tobytes() == expected[0]
    with patch(place, side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        model.predict(parts[1], verbose=1)
    assert model.predict(parts[1], verbose=0).tobytes() == expected[1]
    assert model.predict(np.zeros((0, 3, 4))).shape == (0, 3, 5)
