"""Forked processes, processes that end, and interpreters that are not supported."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import h5_files
import numpy as np
import pytest

from fastlstm import interpreter

pytestmark = pytest.mark.slow

#: What every script begins with: the model, whose last layer may call ``spy``, and how to fork.
PROLOGUE = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import numpy as np
import fastlstm

spies = []
def spy(x):
    for look in list(spies):
        look()
    return x

def forked(work):
    '''Whether ``work`` is true in a forked process, which has a minute for it.'''
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        fine = False
        try:
            fine = bool(work())
        except BaseException as error:
            print(type(error).__name__, error, file=sys.stderr, flush=True)
        finally:
            os._exit(0 if fine else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

class Inside:
    '''While it lasts, another thread is in the middle of ``work``: where the model calls the spy.'''
    def __init__(self, work):
        self.entered, self.leave = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=work)
    def hold(self):
        if threading.current_thread() is self.thread:
            self.entered.set()
            assert self.leave.wait(60)
    def __enter__(self):
        spies.append(self.hold)
        self.thread.start()
        assert self.entered.wait(60)
        return self
    def __exit__(self, *error):
        self.leave.set()
        self.thread.join()
        spies.remove(self.hold)

def refused(work):
    try:
        work()
    except fastlstm.InputError as error:
        return "when the process was forked" in str(error)
    return False

def load(**options):
    custom = {"spy": spy} if "spied" in sys.argv[1] else None
    return fastlstm.load(sys.argv[1], custom_activations=custom, **options)

rng = np.random.default_rng(0)
model = load()
"""


def write(folder: Path, *, stateful: bool = False, units: int = 24) -> Path:
    """A model of two recurrent layers in kernels and a last one that calls Python."""
    rng = np.random.default_rng(0)
    layers = [
        h5_files.recurrent("LSTM", units, 3, rng, return_sequences=True, stateful=stateful),
        h5_files.recurrent("GRU", 5, units, rng, stateful=stateful), h5_files.dense(2, 5, rng, "spy"),
    ]  # fmt: skip
    return h5_files.save(folder / "spied.h5", layers, (None, 3), batch=2 if stateful else None)


def ran(script: str, path: Path, seconds: float = 240) -> str:
    """The output of a script, which ends well."""
    done = subprocess.run([sys.executable, "-c", PROLOGUE + script, str(path)], capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

# -- fork --------------------------------------------------------------------------------------------------------------------


@needs_fork
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_fork_inside_a_stateful_model(tmp_path: Path, precision: str) -> None:
    """The child has the states from before the call that another thread was in; the parent's goes on."""
    script = f"""
x = rng.normal(size=(3, 2, 4, 3)).astype(np.float32)
model, alone = load(precision={precision!r}), load(precision={precision!r})
first, second, third = (alone.predict(part) for part in x)
same = lambda a, b: a.tobytes() == b.tobytes()
assert same(model.predict(x[0]), first)
results = []
with Inside(lambda: results.append(model.predict(x[1]))):
    assert forked(lambda: same(model.predict(x[1]), second) and same(model.predict(x[2]), third))
    assert forked(lambda: model.reset_states() or same(model.predict(x[0]), first))
assert same(results[0], second)
assert same(model.predict(x[2]), third)
assert forked(lambda: model.reset_states() or same(model.predict(x[0]), first))
"""
    ran(script, write(tmp_path, stateful=True))


@needs_fork
def test_fork_by_the_very_thread(tmp_path: Path) -> None:
    """The thread that forks goes on in the child as in the parent, with the lock and the guard that it holds."""
    script = """
x = rng.normal(size=(2, 2, 4, 3)).astype(np.float32)
alone, parent = load(), os.getpid()
expected = [alone.predict(part).tobytes() for part in x]
stream, other = model.stream(2), load().stream(2)
steps = [other.step(x[0, :, t]).tobytes() for t in range(2)]
children = []
def fork():
    spies.clear()
    children.append(os.fork())
    if children[-1] == 0:
        signal.alarm(60)
fine = True
for work in (lambda: [model.predict(part).tobytes() for part in x] == expected,
             lambda: [stream.step(x[0, :, t]).tobytes() for t in range(2)] == steps):
    spies.append(fork)
    fine = work() and fine
if os.getpid() != parent:
    os._exit(0 if fine else 1)
assert fine and len(children) == 2
assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
"""
    ran(script, write(tmp_path, stateful=True))


@needs_fork
def test_fork_inside_a_stream(tmp_path: Path) -> None:
    """Its states may be torn: the child is told so, until it begins anew."""
    script = """
x = rng.normal(size=(2, 3)).astype(np.float32)
stream, alone = model.stream(2), model.stream(2)
zero, first = alone.state, alone.step(x).tobytes()
def child():
    tries = [lambda: stream.step(x), lambda: stream.step(x, rows=[0, 1]), lambda: stream.feed(x[:, None]), lambda: stream.state,
             stream.copy, lambda: stream.reset([0])]
    assert all(map(refused, tries))
    stream.reset()
    return stream.step(x).tobytes() == first
def again():
    try:
        stream.load_state({})
    except fastlstm.InputError:
        assert refused(lambda: stream.step(x))
    stream.load_state(zero)
    return stream.step(x).tobytes() == first
with Inside(lambda: stream.step(x)):
    assert forked(child) and forked(again)
    assert forked(lambda: model.stream(2).step(x).tobytes() == first)
stream.step(x)
assert forked(lambda: stream.step(x) is not None)
"""
    ran(script, write(tmp_path))


@needs_fork
def test_fork_amid_locks_and_teams(tmp_path: Path) -> None:
    """Locks that nobody in the child holds, workers that are not there, a busy parent."""
    script = """
from unittest.mock import patch
from fastlstm.runtime import levels
held, leave = threading.Event(), threading.Event()
def hold():
    with levels._engines_lock, model._turns:
        held.set()
        assert leave.wait(60)
x = rng.normal(size=(2, 30, 3))
expected = model.predict(x).tobytes()
holder = threading.Thread(target=hold)
holder.start()
assert held.wait(60)
assert forked(lambda: load().predict(x).tobytes() == expected and model.reset_states() is None)
leave.set()
holder.join()

with patch("fastlstm.layers.cells.DIVIDED_WEIGHTS", 1), patch("fastlstm.runtime.threads.SHARED_NANOSECONDS", 0):
    several = fastlstm.load(sys.argv[2], threads=2)
    wide = rng.normal(size=(90, 30, 3))
    results = [several.predict(x).tobytes(), several.predict(wide).tobytes()]
    ended = threading.Event()
    def busy():
        while not ended.is_set():
            several.predict(x), several.predict(wide)
    callers = [threading.Thread(target=busy) for _ in range(2)]
    for caller in callers: caller.start()
    for _ in range(10):
        assert forked(lambda: [several.predict(x).tobytes(), several.predict(wide).tobytes()] == results)
    ended.set()
    for caller in callers: caller.join()
"""
    rng = np.random.default_rng(0)
    plain = h5_files.save(tmp_path / "plain.h5", [h5_files.recurrent("LSTM", 300, 3, rng), h5_files.dense(2, 300, rng)], (None, 3))
    ran(script.replace("sys.argv[2]", repr(str(plain))), write(tmp_path))


# -- the end -----------------------------------------------------------------------------------------------------------------

ENDS = {
    "atexit": "model.predict(x); atexit.register(late)",
    "atexit, the first call of all": "atexit.register(late)",
    "a thread that outlives main": "model.predict(x); threading.Thread(target=lambda: (threading.main_thread().join(), late())).start()",
    "a thread that outlives main, the first call": "threading.Thread(target=lambda: (threading.main_thread().join(), late())).start()",
    "__del__": "model.predict(x); z = Late()",
    "__del__, the first call of all": "z = Late()",
    "__del__ of what a module keeps": "model.predict(x); sys.modules['late'] = Late()",
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("rows", [1, 90])
def test_calls_while_the_interpreter_ends(tmp_path: Path, how: str, rows: int) -> None:
    """They are computed as ever, with threads or without."""
    script = f"""
import atexit
import fastlstm.layers.cells, fastlstm.runtime.threads
fastlstm.layers.cells.DIVIDED_WEIGHTS, fastlstm.runtime.threads.SHARED_NANOSECONDS = 1, 0
x = rng.normal(size=({rows}, 20, 3))
expected = model.predict(x).tobytes()
model = load(threads=3)
def late(): print("late", model.predict(x).tobytes() == expected, flush=True)
class Late:
    def __del__(self, late=late): late()
{ENDS[how]}
"""
    rng = np.random.default_rng(0)
    path = h5_files.save(tmp_path / "model.h5", [h5_files.recurrent("LSTM", 64, 3, rng), h5_files.dense(2, 64, rng)], (None, 3))
    assert ran(script, path) == "late True\n"


@pytest.mark.parametrize("rows", [1, 90])
def test_nobody_waits_for_daemons(tmp_path: Path, rows: int) -> None:
    """A process ends while its daemon threads, and their workers, are in calls that take minutes."""
    script = f"""
model = load(threads=2)
assert model.predict(np.zeros(({rows}, 9, 3))).shape
x = np.zeros(({rows}, {20_000_000 // rows}, 3), np.float32)
threading.Thread(target=lambda: model.predict(x), daemon=True).start()
time.sleep(1)
"""
    rng = np.random.default_rng(0)
    path = h5_files.save(tmp_path / "model.h5", [h5_files.recurrent("LSTM", 300, 3, rng), h5_files.dense(2, 300, rng)], (None, 3))
    start = time.monotonic()
    ran(script, path)
    assert time.monotonic() - start < 60


# -- interpreters ------------------------------------------------------------------------------------------------------------

INSIDE = """
import sys
sys.path[:] = {path!r}
try:
    import fastlstm
    said = "imported"
except ImportError as error:
    said = str(error)
with open({out!r}, "w") as file:
    file.write(said)
"""


@pytest.mark.parametrize("before", [False, True])
def test_subinterpreters_are_refused(tmp_path: Path, before: bool) -> None:
    """Whether the main interpreter uses fastlstm or not."""
    out = tmp_path / "said"
    script = f"""
import importlib, sys
for name in {interpreter.MODULES!r}:
    try:
        interpreters = importlib.import_module(name)
        break
    except ImportError:
        pass
else:
    sys.exit("none")
if {before}:
    import fastlstm
number = interpreters.create()
interpreters.run_string(number, {INSIDE.format(path=sys.path, out=str(out))!r})
interpreters.destroy(number)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    if done.stderr.strip() == "none":
        pytest.skip("this Python has no subinterpreters to try")
    assert done.returncode == 0, done.stderr
    assert out.read_text().startswith("fastlstm runs in the main interpreter of a process only")


def test_what_interpreters_are_told() -> None:
    assert (interpreter.is_subinterpreter(), interpreter.has_gil()) == (False, True)
    interpreter.check(subinterpreter=False, gil=True)
    with pytest.raises(ImportError, match="main interpreter of a process only"):
        interpreter.check(subinterpreter=True, gil=True)
    with pytest.raises(ImportError, match=r"global interpreter lock.*PYTHON_GIL=1"):
        interpreter.check(subinterpreter=False, gil=False)


def test_a_build_without_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """As such a build tells: with its lock switched off, and on."""
    for gil in (False, True):
        monkeypatch.setattr(sys, "_is_gil_enabled", lambda gil=gil: gil, raising=False)
        assert interpreter.has_gil() == gil


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="maps memory by Linux's numbers")
def test_kernels_compiled_where_memory_is_crowded() -> None:
    """Only small holes are left near each other: what is compiled just in time must lie together all the same, or it ends the process."""
    pytest.importorskip("numba", reason="the extra jit is not installed")
    script = """
import ctypes, mmap
from fastlstm import runtime
import fastlstm.kernels.jit
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
NOTHING, NO_RESERVE = 0, 0x4000
how = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE
holes = []
for _ in range(60):
    holes.append(libc.mmap(None, 128 << 10, NOTHING, how, -1, 0))
    libc.mmap(None, 3 << 30, NOTHING, how, -1, 0)
for hole in holes:
    libc.munmap(hole, 128 << 10)
print(runtime.engine("jit").level)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["jit"], done.stderr
