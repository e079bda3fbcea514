"""Models in reduced precision: what runs where, the same rows in any company, streams, and tiles in use while other things happen."""

from __future__ import annotations

import json
import pickle
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import amx
import h5_files
import numpy as np
import pytest

import fastlstm
from fastlstm.cli.main import main
from fastlstm.program import bfloat16, layout

HELPERS = Path(amx.__file__).parent
REDUCED = ("bfloat16", "bfloat16x3")
#: What each may be off by here, and is at least.
ERRORS = {"bfloat16": (1e-5, 2e-2), "bfloat16x3": (1e-8, 1e-4)}


@pytest.fixture
def with_amx(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that may use AMX, or in which its instructions are computed."""
    if amx.lacking():
        pytest.skip(amx.lacking())
    monkeypatch.setattr(fastlstm.runtime, "amx_refused", lambda: "")


@pytest.fixture
def without_amx(monkeypatch: pytest.MonkeyPatch) -> str:
    """A process that may not."""
    why = "the system does not let this process use AMX (No space left on device)"
    monkeypatch.setattr(fastlstm.runtime, "amx_refused", lambda: why)
    return why


def saved(folder: Path, *layers: h5_files.Layer, shape: tuple[int | None, ...] = (None, 6)) -> Path:
    return h5_files.save(folder / "model.h5", layers, shape)


def network(folder: Path, seed: int = 0, features: int = 6) -> Path:
    """All cells, a direction backwards, a dense layer at each step."""
    rng = np.random.default_rng(seed)
    inner = h5_files.recurrent("LSTM", 20, features, rng, return_sequences=True)
    other = h5_files.recurrent("LSTM", 20, features, rng)
    dense = h5_files.Layer(
        {"class_name": "Dense", "config": {"units": 9, "activation": "linear", "use_bias": True}},
        [h5_files.random(rng, 12, 9), h5_files.random(rng, 9)],
    )
    return saved(
        folder,
        h5_files.bidirectional(inner, other.weights),
        h5_files.recurrent("GRU", 17, 40, rng, return_sequences=True, reset_after=True),
        h5_files.recurrent("GRU", 12, 17, rng, return_sequences=True),
        h5_files.recurrent("SimpleRNN", 12, 12, rng, return_sequences=True),
        dense,
        shape=(None, features),
    )


def forwards(folder: Path) -> Path:
    """A model that streams."""
    rng = np.random.default_rng(3)
    return saved(folder, h5_files.recurrent("LSTM", 40, 6, rng, return_sequences=True), h5_files.recurrent("GRU", 20, 40, rng))


X = np.random.default_rng(1).normal(size=(37, 11, 6)).astype(np.float32)


# -- with AMX -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", REDUCED)
def test_what_runs_and_how_far_it_is_off(tmp_path: Path, with_amx: None, precision: str) -> None:
    path = network(tmp_path)
    model, plain = fastlstm.load(path, precision=precision), fastlstm.load(path)
    assert (model.precision_used, plain.precision_used) == (precision, "float32")
    exact = fastlstm.load(path, precision="float64")
    assert exact.precision_used == "float64"
    least, most = ERRORS[precision]
    assert least < np.abs(model.predict(X) - exact.predict(X.astype(np.float64))).max() < most


@pytest.mark.parametrize("precision", REDUCED)
def test_a_row_is_its_own(tmp_path: Path, with_amx: None, precision: str) -> None:
    """To the bit: alone, in any batch, by any number of threads, as one of sequences of several lengths."""
    path = network(tmp_path)
    model = fastlstm.load(path, precision=precision)
    whole = model.predict(X)
    for rows in (1, 5, 16, 17, 33):
        np.testing.assert_array_equal(model.predict_on_batch(X[:rows]), whole[:rows])
    np.testing.assert_array_equal(fastlstm.load(path, precision=precision, threads=2).predict(X), whole)
    lengths = [11, 3, 7, 11, 1]
    several = model.predict([x[:n] for x, n in zip(X, lengths, strict=False)])
    for y, x, n in zip(several, X, lengths, strict=False):
        np.testing.assert_array_equal(y, model.predict(x[np.newaxis, :n])[0])


@pytest.mark.parametrize("precision", REDUCED)
def test_streams(tmp_path: Path, with_amx: None, precision: str) -> None:
    """A timestep after the other gives what the whole sequence gives, to the bit."""
    model = fastlstm.load(forwards(tmp_path), precision=precision)
    expected = model.predict(X)
    for rows in (1, 37):
        stream = model.stream(batch_size=rows)
        for t in range(X.shape[1]):
            y = stream.step(X[:rows, t])
        np.testing.assert_array_equal(y, expected[:rows])


def test_layers_that_stay_float32(tmp_path: Path, with_amx: None) -> None:
    """A weight that is infinite, gates that need all units of a row, a few units: as in float32, to the bit."""
    rng = np.random.default_rng(2)
    layers = [
        h5_files.recurrent("LSTM", 8, 6, rng, return_sequences=True, activation="softmax"),
        h5_files.recurrent("GRU", 8, 8, rng, return_sequences=True),
        h5_files.Layer(
            {"class_name": "Dense", "config": {"units": 3, "activation": "tanh", "use_bias": False}}, [h5_files.random(rng, 8, 3)]
        ),
    ]
    layers[1].weights[1][0, 0] = np.inf
    path = saved(tmp_path, *layers)
    model = fastlstm.load(path, precision="bfloat16x3")
    assert model.precision_used == "float32"
    np.testing.assert_array_equal(model.predict(X), fastlstm.load(path).predict(X))


def test_pickled_and_converted(tmp_path: Path, with_amx: None) -> None:
    path = network(tmp_path)
    model = fastlstm.load(path, precision="bfloat16")
    expected = model.predict(X)
    copy = pickle.loads(pickle.dumps(model))
    assert copy.precision_used == "bfloat16"
    np.testing.assert_array_equal(copy.predict(X), expected)
    report = fastlstm.convert(path, tmp_path / "m.fastlstm", precision="bfloat16")
    assert (report.precision, report.checked_in) == ("bfloat16", "bfloat16")
    assert "to be computed in bfloat16" in str(report)
    assert max(case.difference for case in report.cases) > 1e-5  # it was what was checked
    converted = fastlstm.load(tmp_path / "m.fastlstm")
    assert converted.precision_used == "bfloat16"
    np.testing.assert_array_equal(converted.predict(X), expected)
    assert fastlstm.verify(tmp_path / "m.fastlstm").passed
    # The file holds the weights as they are.
    plain = fastlstm.load(tmp_path / "m.fastlstm", precision="float32")
    np.testing.assert_array_equal(plain.predict(X), fastlstm.load(path).predict(X))
    again = fastlstm.convert(tmp_path / "m.fastlstm", tmp_path / "again.fastlstm")
    assert again.precision == "bfloat16"
    assert fastlstm.convert(tmp_path / "m.fastlstm", tmp_path / "no.fastlstm", precision="float32").precision == "float32"


def test_a_conversion_out_of_bounds_is_not_written(tmp_path: Path, with_amx: None) -> None:
    """Steep activations show what rounding does to what goes into them."""
    weights = 100 * h5_files.random(np.random.default_rng(0), 40, 200)
    dense = h5_files.Layer({"class_name": "Dense", "config": {"units": 200, "activation": "tanh", "use_bias": False}}, [weights])
    path = saved(tmp_path, dense, shape=(40,))
    with pytest.raises(fastlstm.VerificationError, match="not converted"):
        fastlstm.convert(path, tmp_path / "m.fastlstm", precision="bfloat16")
    assert not (tmp_path / "m.fastlstm").exists()


def test_the_cache_keeps_forms_apart(tmp_path: Path, with_amx: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTLSTM_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(fastlstm.caching, "LEAST_BYTES", 0)
    monkeypatch.setattr(fastlstm.caching, "SETTLED", -1.0)
    fastlstm.convert(network(tmp_path), tmp_path / "m.fastlstm")
    found: dict[str, list[np.ndarray]] = {}
    for _ in range(2):
        for precision in (*REDUCED, "float32"):
            found.setdefault(precision, []).append(fastlstm.load(tmp_path / "m.fastlstm", precision=precision).predict(X))
    assert list((tmp_path / "kept").iterdir())
    for one, other in found.values():
        np.testing.assert_array_equal(one, other)
    assert (found["bfloat16"][0] != found["float32"][0]).any()


# -- without ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", REDUCED)
def test_small_layers_stay_float32(tmp_path: Path, without_amx: str, precision: str) -> None:
    path = network(tmp_path)
    model = fastlstm.load(path, precision=precision)
    assert model.precision_used == "float32"
    np.testing.assert_array_equal(model.predict(X), fastlstm.load(path).predict(X))
    found = fastlstm.describe(path, precision=precision)
    assert (found.precision, found.precision_used, found.precision_why) == (precision, "float32", without_amx)


def test_large_weights_take_half_the_bytes(tmp_path: Path, without_amx: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers are those of float32 with rounded weights, to the bit, whatever the number of rows."""
    monkeypatch.setattr(bfloat16, "LEAST_HALVES", 1000)
    rng = np.random.default_rng(0)
    lstm = h5_files.recurrent("LSTM", 40, 6, rng, return_sequences=True)
    path = saved(tmp_path, lstm)
    (tmp_path / "rounded").mkdir()
    kernel, recurrent, bias = lstm.weights
    rounded = saved(tmp_path / "rounded", lstm._replace(weights=[amx.halves(kernel), amx.halves(recurrent), bias]))
    model, truth = fastlstm.load(path, precision="bfloat16"), fastlstm.load(rounded)
    assert model.precision_used == "bfloat16 weights"
    assert fastlstm.load(path, precision="bfloat16x3").precision_used == "float32"
    for rows in (1, 2, 37):
        np.testing.assert_array_equal(model.predict_on_batch(X[:rows]), truth.predict_on_batch(X[:rows]))
    size, halved = (sum(array.nbytes for array in one.executor.constants.arrays.values()) for one in (truth, model))
    assert halved < 0.6 * size


def test_a_level_without_amx(tmp_path: Path) -> None:
    """The same API and right numbers, at the levels that this CPU can be asked for."""
    script = """
import sys, fastlstm, numpy as np
model = fastlstm.load(sys.argv[1], precision="bfloat16")
print(model.precision_used, fastlstm.runtime.amx_refused())
np.save(sys.argv[2], model.predict(np.load(sys.argv[3])))
"""
    path = network(tmp_path)
    np.save(tmp_path / "x.npy", X)
    expected = fastlstm.load(path).predict(X)
    for level in fastlstm.runtime.available_levels()[:2]:
        command = [sys.executable, "-c", script, path, tmp_path / "y.npy", tmp_path / "x.npy"]
        done = subprocess.run(command, capture_output=True, text=True, env={"FASTLSTM_KERNELS": level, "PATH": ""}, check=True)
        assert done.stdout.startswith("float32 "), done.stdout
        assert "no AMX" in done.stdout or "without AMX" in done.stdout
        np.testing.assert_allclose(np.load(tmp_path / "y.npy"), expected, rtol=0, atol=2e-6)


@pytest.mark.slow
def test_a_cpu_that_has_none(tmp_path: Path) -> None:
    """As qemu plays one."""
    emulator = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    if emulator is None or platform.machine() != "x86_64":
        pytest.skip("qemu-user is not installed")
    script = "import sys, fastlstm; m = fastlstm.load(sys.argv[1], precision='bfloat16'); print(m.executor.precision)"
    command = [emulator, "-cpu", "Haswell", sys.executable, "-c", script, network(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout == "Precision(used='float32', why='this CPU has no AMX')\n"


# -- what is asked for --------------------------------------------------------------------------------------------------------


def test_names(tmp_path: Path) -> None:
    path = network(tmp_path)
    with pytest.raises(fastlstm.InputError, match="precision: expected 'float32', 'float64', 'bfloat16' or 'bfloat16x3', found 'half'"):
        fastlstm.load(path, precision="half")
    with pytest.raises(fastlstm.InputError, match="precision: expected 'float32', 'bfloat16', 'bfloat16x3' or None, found 'float64'"):
        fastlstm.convert(path, tmp_path / "m.fastlstm", precision="float64")


def test_commands(tmp_path: Path, without_amx: str, capsys: pytest.CaptureFixture[str]) -> None:
    path, target = network(tmp_path), tmp_path / "m.fastlstm"
    assert main(["convert", str(path), str(target), "--precision", "bfloat16"]) == 0
    assert "to be computed in bfloat16, checked in float32" in capsys.readouterr().out
    assert main(["inspect", str(target)]) == 0
    assert f"bfloat16 asked for, computed in float32 ({without_amx})" in capsys.readouterr().out
    assert main(["inspect", str(target), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["precision"] == {"asked": "bfloat16", "used": "float32", "why": without_amx}
    assert main(["inspect", str(target), "--json", "--precision", "float32"]) == 0
    assert "precision" not in json.loads(capsys.readouterr().out)
    np.save(tmp_path / "x.npy", X)
    assert main(["predict", str(target), str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npy"), "--precision", "bfloat16x3"]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), fastlstm.load(path).predict(X))


def test_a_file_that_names_another_precision(tmp_path: Path) -> None:
    fastlstm.convert(network(tmp_path), tmp_path / "m.fastlstm", precision="bfloat16")
    data = (tmp_path / "m.fastlstm").read_bytes()
    assert data.count(b'\\"precision\\":\\"bfloat16\\"') == 1
    (tmp_path / "m.fastlstm").write_bytes(data.replace(b'\\"precision\\":\\"bfloat16\\"', b'\\"precision\\":\\"bfloat61\\"'))
    with pytest.raises(fastlstm.FormatError, match="precision: expected one of float32, bfloat16, bfloat16x3, found 'bfloat61'"):
        fastlstm.load(tmp_path / "m.fastlstm")


# -- tiles in use -----------------------------------------------------------------------------------------------------------------

PROLOGUE = """
import faulthandler, os, signal, sys, threading
faulthandler.enable()
sys.path.insert(0, sys.argv[1])
import amx, numpy as np, fastlstm
computed = bool(fastlstm.runtime.amx_refused())
assert not amx.lacking(), amx.lacking()
left_configured, own = amx.left_configured, fastlstm.runtime.amx_refused
fastlstm.runtime.amx_refused = lambda: ""
model = fastlstm.load(sys.argv[2], precision="bfloat16")
assert model.precision_used == "bfloat16"
x = np.load(sys.argv[3])
expected = model.predict(x)

def same(y):
    assert (y == expected[:len(y)]).all()
"""

MEANWHILE = {
    "fork": """
children = []
for _ in range(3):
    child = os.fork()
    if not child:
        same(model.predict(x))
        own = fastlstm.load(sys.argv[2], precision="bfloat16")
        assert own.precision_used == "bfloat16"
        same(own.predict(x))
        os._exit(0)
    children.append(child)
same(model.predict(x))
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
""",
    "threads": """
failed = []
def work(n):
    try:
        for _ in range(3):
            same(model.predict(x[:n]))
    except BaseException as error:
        failed.append(error)
        raise
threads = [threading.Thread(target=work, args=(n,)) for n in (1, 5, 17, len(x))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
shared = fastlstm.load(sys.argv[2], precision="bfloat16", threads=2)
for _ in range(3):
    same(shared.predict(x))
assert not failed
""",
    "signals": """
other, seen = fastlstm.load(sys.argv[2], precision="bfloat16x3"), []
once = other.predict(x[:3])
def handler(*_):
    seen.append((other.predict(x[:3]) == once).all())
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.05)
long = np.concatenate([x] * 20)
for _ in range(2 if computed else 200):
    y = model.predict(long, batch_size=len(long))
    assert (y == np.concatenate([expected] * 20)).all()
    if len(seen) > 5:
        break
signal.setitimer(signal.ITIMER_REAL, 0)
assert seen and all(seen)
""",
    "signals in a team": """
from fastlstm.layers import cells
cells.DIVIDED_WEIGHTS = 1
fastlstm.runtime.threads.SHARED_NANOSECONDS = 0
team = fastlstm.load(sys.argv[2], precision="bfloat16", threads=2)
other, seen = fastlstm.load(sys.argv[2], precision="bfloat16x3"), []
once = other.predict(x[:1])
def handler(*_):
    seen.append((other.predict(x[:1]) == once).all())
    signal.setitimer(signal.ITIMER_REAL, 0.003)  # anew, as the handler itself may take longer
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.003)
while len(seen) < 30:
    same(team.predict_on_batch(x[:1]))  # so few rows that members share the units, and wait for each other at every step
signal.setitimer(signal.ITIMER_REAL, 0)
assert seen and all(seen)
""",
    "faults": """
import ctypes
pid = os.fork()
if not pid:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    model.predict(x)
    ctypes.string_at(8)
assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGSEGV
faulthandler.dump_traceback_later(0.05, repeat=True, file=open(os.devnull, "w"))
for _ in range(3):
    same(model.predict(x))
faulthandler.cancel_dump_traceback_later()
same(model.predict(x))
""",
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_meanwhile(tmp_path: Path, with_amx: None, what: str) -> None:
    """Forks, threads, signal handlers that compute, faulthandler: the numbers are the same, and nothing crashes."""
    np.save(tmp_path / "x.npy", X)
    script = PROLOGUE + MEANWHILE[what] + "fastlstm.runtime.amx_refused = own\nassert not left_configured()\nprint('done')\n"
    arguments: list[Any] = [HELPERS, network(tmp_path), tmp_path / "x.npy"]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_what_is_packed(with_amx: None) -> None:
    """Tiles of rows of k in pairs, columns side by side."""
    matrix = np.arange(40 * 64, dtype=np.float32).reshape(40, 64)
    packed = bfloat16.widened(bfloat16.pack(matrix, 1, 16, layout.AMX))
    assert packed.size == 64 * 64
    tiles = packed.reshape(2, 2, 2, 16, 16, 2)  # pair of columns, tile along k, column, row, number, even or odd
    rounded = np.zeros((64, 64), np.float32)
    rounded[:40] = amx.halves(matrix)
    for k in range(64):
        for n in range(64):
            assert tiles[n // 32, k // 32, n // 16 % 2, k % 32 // 2, n % 16, k % 2] == rounded[k, n]
