"""Files of strangers, read in a process of their own: the same model, the same errors, and limits that hold."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import build
import golden
import h5py
import numpy as np
import pytest
from written import chain, write_groups, write_h5

import fastlstm
from fastlstm import cli, formats, isolation, limits
from fastlstm.errors import FastLSTMError, FormatError, InputError, UnsupportedError
from fastlstm.formats import native
from fastlstm.isolation import Isolation
from fastlstm.limits import Budget

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
limited = pytest.mark.skipif(os.name == "nt", reason="no limits but the clock on Windows")
LIBRARY = Path(__file__).resolve().parents[2] / "shared" / "faults" / "cases" / "hdf5_c_library"


@pytest.fixture
def h5(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    return build.save(tmp_path / "m.h5", [build.recurrent("LSTM", 4, 3, rng), build.dense(2, 4, rng)], (5, 3))


def difference(a: Any, b: Any, place: str = "") -> str:
    """Where two specs, or what stands in them, differ: in types, keys and bits."""
    if type(a) is not type(b):
        return f"{place}: {a!r:.60} / {b!r:.60}"
    if isinstance(a, np.ndarray):
        return "" if (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()) else f"{place}: another array"
    if dataclasses.is_dataclass(a):
        a, b = ({field.name: getattr(each, field.name) for field in dataclasses.fields(each)} for each in (a, b))
    if isinstance(a, dict):
        if list(a) != list(b):
            return f"{place}: {list(a)} / {list(b)}"
        return next(filter(None, (difference(a[key], b[key], f"{place}.{key}") for key in a)), "")
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return f"{place}: {len(a)} / {len(b)}"
        return next(filter(None, (difference(*pair, f"{place}[{number}]") for number, pair in enumerate(zip(a, b)))), "")
    return "" if a == b or (a != a and b != b) else f"{place}: {a!r:.60} / {b!r:.60}"


def outcome(read: Callable[[], Any]) -> tuple[Any, list[str]]:
    """A spec, or the error in place of it, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = read()
        except FastLSTMError as error:
            found = (type(error), str(error))
    return found, [str(warning.message) for warning in caught]


def same_as_here(path: Any, **options: Any) -> Any:
    """Read a file both ways; they must agree in all."""
    here = outcome(lambda: formats.read(path, **options))
    source = formats.source_of(path)
    there = outcome(lambda: isolation.read(source, Isolation(), Budget(source.name, source.size), **options))
    assert difference(here, there) == ""
    return here[0]


# -- the same model -------------------------------------------------------------------------------------------------------


def test_same_model(h5: Path, tmp_path: Path) -> None:
    expected = fastlstm.load(h5)
    for given in (h5, str(h5), h5.read_bytes(), io.BytesIO(h5.read_bytes()), h5.open("rb")):
        model = fastlstm.load(given, isolated=True)
        np.testing.assert_array_equal(model.predict(X), expected.predict(X))
        assert model.generation == expected.generation
    assert same_as_here(h5).generation.file_kind == "HDF5 model"
    fastlstm.convert(h5, tmp_path / "m.fastlstm")
    assert same_as_here(tmp_path / "m.fastlstm").generation.file_kind == ".fastlstm"
    model = fastlstm.load(h5, isolated=True, outputs=["lstm_1"], precision="float64")
    np.testing.assert_array_equal(model.predict(X), fastlstm.load(h5, outputs=["lstm_1"], precision="float64").predict(X))


def test_same_by_name_and_architecture(tmp_path: Path) -> None:
    names = ("a", "é")
    config = chain(*(("Dense", {"name": name, "units": 3, "batch_input_shape": [None, 3], "activation": "linear"}) for name in names))
    groups = {name: [np.eye(3) * number, np.zeros(3)] for number, name in enumerate(names, start=2)}
    same_as_here(write_h5(tmp_path / "m.h5", config, dict(reversed(groups.items()))), by_name=True)
    same_as_here(tmp_path / "m.h5")  # an error
    with h5py.File(tmp_path / "w.h5", "w") as file:
        write_groups(file, groups)
    text = json.dumps(config, ensure_ascii=False)
    contents = {"m.json": text.encode(), "bom.json": text.encode("utf-8-sig"), "bad": b"\xff\xfe", "yaml": b"class_name: a"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        same_as_here(tmp_path / "w.h5", architecture=tmp_path / name)
    for architecture in (config, text, json.dumps(text), {}, "{", str(tmp_path / "m.json"), str(tmp_path / "absent"), 5, "a\0b"):
        same_as_here(tmp_path / "w.h5", architecture=architecture)
        same_as_here(tmp_path / "m.h5", architecture=architecture)
    with pytest.raises(InputError, match="architecture: expected what JSON can hold"):
        fastlstm.load(tmp_path / "w.h5", architecture={"a": object()}, isolated=True)


def test_same_names_of_any_letters(tmp_path: Path) -> None:
    """Half a character, which JSON may hold, in the name of a layer; a name of a file that is no text."""
    rng = np.random.default_rng(0)
    path = build.save(tmp_path / os.fsdecode(b"m\xff\xc3.h5"), [build.dense(2, 3, rng)], (3,))
    config = chain(("Dense", {"name": "a\ud800b\0", "units": 2, "activation": "linear", "batch_input_shape": [None, 3]}))
    same_as_here(path, architecture=json.dumps(config))
    fastlstm.convert(path, tmp_path / "m.fastlstm", architecture=config)
    assert fastlstm.load(tmp_path / "m.fastlstm", isolated=True, verify=True).layers[-1].name == "a\ud800b\0"
    path.write_bytes(b"text")
    same_as_here(path)


def test_same_warnings_and_problems(tmp_path: Path, h5: Path) -> None:
    cell = {"class_name": "LSTMCell", "config": {"name": "lstm_cell_1", "trainable": True}}
    config = chain(("RNN", {"name": "r", "cell": cell, "batch_input_shape": [None, 4, 3]}))
    weights = [np.zeros(one, np.float32) for one in ((3, 8), (2, 8), (8,))]
    write_h5(tmp_path / "n.h5", config, {"r": weights[:2]}, "2.0.9")
    assert same_as_here(tmp_path / "n.h5").problems
    write_h5(tmp_path / "w.h5", config, {"r": weights}, "2.0.9")
    same_as_here(tmp_path / "w.h5")
    with pytest.warns(UserWarning, match="without their arguments") as caught:
        fastlstm.load(tmp_path / "w.h5", isolated=True)
    assert caught[0].filename == __file__
    write_h5(tmp_path / "o.h5", {"class_name": "Own", "config": {"name": "own"}}, {})
    assert same_as_here(tmp_path / "o.h5")[0] is UnsupportedError
    config = {"trainable": True, "a": {"$tuple": 1}, "b": [{"$ref": {"$x": 0}}], "c": {"$": 1}}  # what .fastlstm files write so is other
    odd = build.Layer({"class_name": "Oddity", "config": config}, [np.ones((2, 2), np.int32)])
    same_as_here(build.save(tmp_path / "odd.h5", [odd], (3,)))
    there = fastlstm.describe(tmp_path / "odd.h5", isolated=True)
    assert there == fastlstm.describe(tmp_path / "odd.h5")
    assert there.problems
    with pytest.raises(UnsupportedError) as error:
        fastlstm.load(tmp_path / "odd.h5", isolated=True)
    assert error.value.problems == there.problems


def test_same_functions_of_the_caller(tmp_path: Path) -> None:
    own = build.Layer({"class_name": "Twice", "config": {"trainable": True, "by": 2}}, [np.full(3, 2.0, np.float32)])
    path = build.save(tmp_path / "m.h5", [build.dense(3, 3, np.random.default_rng(0)), own], (3,))
    functions = {"Twice": lambda x, config, weights: x * config["by"] * weights[0]}
    x = X[:, 0]
    expected = fastlstm.load(path, custom_layers=functions).predict(x)
    np.testing.assert_array_equal(fastlstm.load(path, custom_layers=functions, isolated=True).predict(x), expected)


def test_same_corpus(golden_folders: tuple[Path, ...]) -> None:
    """All bad files, and one good one in a hundred: of each kind and generation some."""
    bad = next((one / "bad" for one in golden_folders if (one / "bad").is_dir()), None)
    for path in sorted(bad.iterdir()) if bad else ():
        if path.suffix in (".h5", ".keras"):
            same_as_here(path)
    for case in list(golden.cases(*golden_folders))[::100]:
        same_as_here(case.path, architecture=case.architecture)


@pytest.mark.parametrize("cut", [0, 4, 48, 100, 800, 2100, -200, -1])
def test_same_truncated(h5: Path, cut: int) -> None:
    h5.write_bytes(h5.read_bytes()[:cut])
    assert same_as_here(h5)[0] is FormatError


def test_large_files_pass_both_pipes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = build.save(tmp_path / "m.h5", [build.dense(1500, 2000, rng), build.dense(2, 1500, rng)], (2000,))
    assert path.stat().st_size > 10 << 20
    same_as_here(path)
    same_as_here(path.read_bytes())


# -- what the other process may do ----------------------------------------------------------------------------------------


def instead(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let reading processes run other code than ``main()``, which they have imported."""
    start = "import ctypes, os, signal, socket, sys, time, fastlstm.reader as reader"
    monkeypatch.setattr(isolation, "COMMAND", "\n".join((isolation.COMMAND.removesuffix("main()"), start, code)))


def reading(code: str) -> str:
    """Code that does something where a file would be read."""
    return f"def read(head, source):\n    {code}\nreader.read = read\nmain()"


def says(path: Any, **bounds: Any) -> str:
    with pytest.raises(FormatError) as caught:
        fastlstm.load(path, isolated=Isolation(**bounds))
    return str(caught.value)


@limited
@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("while True: pass", "reading it takes more than 1 s of CPU"),
        ("signal.signal(signal.SIGXCPU, signal.SIG_IGN)\n    while True: pass", r"crashed \(SIGKILL\)"),
        ("time.sleep(100)", "reading it takes more than 3 s:"),
        ("signal.setitimer(signal.ITIMER_REAL, 0); time.sleep(100)", "reading it takes more than 3 s:"),
        ("return bytes(1 << 30)", "reading it needs more than 400000000 bytes of memory"),
        ("return [bytes(100) for _ in range(1 << 30)]", "reading it needs more than 400000000 bytes of memory"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "about to open something else"),
        ("signal.raise_signal(signal.SIGSEGV)", r"crashed \(SIGSEGV\); the file is damaged or hostile"),
        ("os._exit(5)", r"crashed \(exit code 5\)"),
        ("os._exit(0)", "no answer that can be understood"),
        ("raise KeyError('x')", r"cannot be read \(KeyError: 'x'\)"),
        ("open('/dev/null')", "about to open something else"),
        ("socket.socket()", "about to open something else"),
        ("os.system('true')", "about to open something else"),
        ("import this", "about to open something else"),
        ("os.write(1, b'garbage' * 10); os._exit(0)", "no answer that can be understood"),
        ("os.write(1, bytes(8)); os._exit(0)", "no answer that can be understood"),
        (r"os.write(1, b'\2\0\0\0\0\0\0\0{}'); os._exit(0)", "expected a size, found None"),
        (r"os.write(1, b'\2\0\0\0\0\0\0\0[]'); os._exit(0)", "expected an object"),
        (r"os.write(1, b'\2\0\0\0\0\0\0\0{x'); os._exit(0)", "not JSON"),
        (r"""os.write(1, b'\x0a\0\0\0\0\0\0\0{"size":9}'); os._exit(0)""", "expected 9 bytes of a model, found 0"),
        (r"""os.write(1, b'\x2d\0\0\0\0\0\0\0{"size":4,"warnings":[],"altered":[]}        junk'); os._exit(0)""", "damaged or truncated"),
        (r"""os.write(1, b'\x31\0\0\0\0\0\0\0{"size":0,"warnings":[],"error":"X","message":4} '); os._exit(0)""", "expected text, found 4"),
        ("os.close(1); time.sleep(100)", "reading it takes more than 3 s:"),
    ],
)  # fmt: skip
def test_limits(monkeypatch: pytest.MonkeyPatch, h5: Path, code: str, what: str) -> None:
    instead(monkeypatch, reading(code))
    start = time.monotonic()
    message = says(h5, cpu_seconds=1, max_bytes=400_000_000, seconds=3 if "time.sleep" in code else 60)
    assert message.startswith(f"{h5}: ")
    assert re.search(what, message), message
    assert time.monotonic() - start < 50


@limited
def test_answers_without_end(monkeypatch: pytest.MonkeyPatch, h5: Path) -> None:
    monkeypatch.setattr(isolation.handover, "HEADS", 1 << 20)
    monkeypatch.setattr(limits, "FREE_BYTES", 1 << 20)
    monkeypatch.setattr(limits, "SPREAD", 1)
    instead(monkeypatch, reading("while True: os.write(1, bytes(1 << 16))"))
    assert "gave more than" in says(h5)


@limited
@pytest.mark.parametrize("code", ["open('/dev/null')", "socket.socket()", "os.fork()", "os.pipe()"])
def test_the_kernel_refuses_too(monkeypatch: pytest.MonkeyPatch, h5: Path, code: str) -> None:
    """What compiled code would try goes past Python's hook."""
    if "fork" in code and not os.geteuid():
        pytest.skip("the number of processes does not bind root")
    instead(monkeypatch, "reader.forbid = lambda *_: None\n" + reading(code))
    assert re.search(r"cannot be read \((OSError|BlockingIOError|PermissionError): ", says(h5))


@limited
def test_nothing_is_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, h5: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace")
    script, trace = tmp_path / "python", tmp_path / "trace"
    script.write_text(f'#!/bin/sh\nexec {strace} -f -o {trace} {sys.executable} "$@"\n')
    script.chmod(0o755)
    if subprocess.run([script, "-c", ""], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("strace may not trace")
    monkeypatch.setattr(sys, "executable", str(script))
    fastlstm.load(h5, isolated=True)
    before, _, after = trace.read_text().partition("RLIMIT_NOFILE, {rlim_cur=0")
    assert "open" in before
    calls = set(re.findall(r"^\d+ +(\w+)\(", after, re.MULTILINE))
    assert {"read", "write"} <= calls
    assert not {call for call in calls if re.search("open|socket|connect|fork|clone|exec|pipe|unlink|rename|mkdir|chmod|link|kill", call)}


@limited
def test_hangs_and_hunger_of_hdf5(tmp_path: Path) -> None:
    """A heap of attributes whose free space has no size is looked through for ever."""
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = "x" * 300
    data = bytearray(path.read_bytes())
    first = data.index(b"GCOL") + 16
    data[first : first + 16] = bytes(16)
    path.write_bytes(data)
    assert "reading it takes more than 1 s of CPU" in says(path, cpu_seconds=1)


@limited
@pytest.mark.skipif(not LIBRARY.is_dir(), reason="no shared/faults beside the repository")
def test_recorded_faults_of_hdf5() -> None:
    for path in sorted(LIBRARY.glob("*.h5")):
        start = time.monotonic()
        assert str(path) in says(path, cpu_seconds=2, max_bytes=1 << 30)
        assert time.monotonic() - start < 60


@limited
def test_advice_helps(h5: Path) -> None:
    h5.write_bytes(h5.read_bytes() + bytes(60_000_000))  # HDF5 minds no more than a truncated one
    message = says(h5, max_bytes=50_000_000)
    advised = re.search(r"isolated=fastlstm.Isolation\(max_bytes=(\d+)\) allows more", message)
    assert advised
    assert fastlstm.load(h5, isolated=Isolation(max_bytes=int(advised[1]))).predict(X).shape == (2, 2)
    with pytest.raises(FormatError, match="needs more than"):
        fastlstm.load(h5, isolated=Isolation(max_bytes=100_000_000))


# -- its life -------------------------------------------------------------------------------------------------------------


SLEEPS = """
import sys
import fastlstm
from fastlstm import isolation
isolation.COMMAND = isolation.COMMAND.removesuffix("main()") + '''
import os, sys, time
import fastlstm.reader as reader
def read(*_):
    os.write(2, str(os.getpid()).encode() + b"\\\\n")
    time.sleep(300)
reader.read = read
main()
'''
import subprocess
subprocess.DEVNULL = None  # the reader's standard error is this one's
fastlstm.load(sys.argv[1], isolated=True)
"""


def alive(pid: int) -> bool:
    """Whether a process is there; one that nobody has waited for counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@limited
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_ends_with_the_one_that_asked(h5: Path, number: str) -> None:
    if number != "SIGINT" and sys.platform != "linux":
        pytest.skip("elsewhere it ends by its own clock")
    process = subprocess.Popen([sys.executable, "-c", SLEEPS, str(h5)], stderr=subprocess.PIPE)
    assert process.stderr is not None
    reader = int(process.stderr.readline())
    assert alive(reader)
    process.send_signal(getattr(signal, number))
    start = time.monotonic()
    assert process.wait(30) != 0
    while alive(reader) and time.monotonic() - start < 30:
        time.sleep(0.05)
    assert not alive(reader)
    said = process.stderr.read()
    process.stderr.close()
    assert b"KeyboardInterrupt" in said if number == "SIGINT" else not said


@limited
def test_nothing_is_left(monkeypatch: pytest.MonkeyPatch, h5: Path) -> None:
    """No zombies, no open pipes."""
    began: list[subprocess.Popen] = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **options: began.append(popen(*args, **options)) or began[-1])
    handles = len(os.listdir("/dev/fd"))
    fastlstm.load(h5, isolated=True)
    for code in ("signal.raise_signal(signal.SIGSEGV)", "time.sleep(100)"):
        with monkeypatch.context() as patch:
            instead(patch, reading(code))
            says(h5, seconds=2)
    assert len(began) == 3
    assert all(process.returncode is not None for process in began)
    assert len(os.listdir("/dev/fd")) == handles


def test_processes_that_do_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, h5: Path) -> None:
    instead(monkeypatch, "raise SystemExit(3)")
    with pytest.raises(InputError, match=r"did not start \(exit code 3\)"):
        fastlstm.load(h5, isolated=True)
    for executable in ("", str(tmp_path / "absent"), str(tmp_path)):
        monkeypatch.setattr(sys, "executable", executable)
        with pytest.raises(InputError, match="isolated: no (Python|process) can be started"):
            fastlstm.load(h5, isolated=True)


def test_modules_of_the_current_folder_are_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, h5: Path) -> None:
    for name in ("json", "numpy", "h5py", "fastlstm", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('run')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", ".", *sys.path])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    fastlstm.load(h5, isolated=True)


def test_without_waiting_for_pipes(monkeypatch: pytest.MonkeyPatch, h5: Path) -> None:
    """As on Windows."""
    monkeypatch.setattr(isolation, "SELECTS", False)
    same_as_here(h5)
    instead(monkeypatch, reading("time.sleep(100)"))
    assert "reading it takes more than 2 s:" in says(h5, seconds=2)


# -- what goes with it ----------------------------------------------------------------------------------------------------


def test_convert_does_not_look_into_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, h5: Path) -> None:
    fastlstm.convert(h5, tmp_path / "here.fastlstm")
    for module in (formats, formats.native):
        monkeypatch.setattr(module, "read", None)
    monkeypatch.setattr(h5py, "File", None)
    report = fastlstm.convert(h5, tmp_path / "there.fastlstm", isolated=True)
    assert report.generation == "Keras 2.3.1 on tensorflow, HDF5 model"
    assert (tmp_path / "there.fastlstm").read_bytes() == (tmp_path / "here.fastlstm").read_bytes()
    written = formats.source_of(tmp_path / "there.fastlstm")
    with native.Store(written, Budget(written.name, written.size)) as store:
        assert store.header["source_sha256"] == hashlib.sha256(h5.read_bytes()).hexdigest()


def test_verify(tmp_path: Path, h5: Path) -> None:
    target = tmp_path / "m.fastlstm"
    fastlstm.convert(h5, target)
    assert str(fastlstm.verify(target, isolated=True)) == str(fastlstm.verify(target))
    assert str(fastlstm.verify(h5, isolated=True)) == str(fastlstm.verify(h5))
    assert fastlstm.load(target, isolated=True, verify=True)
    data = bytearray(target.read_bytes())
    data[-1] ^= 64
    target.write_bytes(data)
    altered = fastlstm.verify(target, isolated=True)
    assert altered.altered
    assert altered == fastlstm.verify(target)


def test_what_does_not_go_together(tmp_path: Path, h5: Path) -> None:
    with h5py.File(h5) as file, pytest.raises(InputError, match="an h5py.File, which this process has open already; pass its path"):
        fastlstm.load(file, isolated=True)
    with pytest.raises(InputError, match="keras: Keras reads the file in this process"):
        fastlstm.verify(h5, keras=True, isolated=True)
    with pytest.raises(InputError, match="keras: Keras reads the file in this process"):
        fastlstm.convert(h5, tmp_path / "m.fastlstm", keras=True, isolated=True)
    assert not (tmp_path / "m.fastlstm").exists()


@pytest.mark.parametrize("isolated", [None, 1, "yes", Isolation, {}], ids=str)
def test_isolated_is_a_flag_or_limits(h5: Path, isolated: Any) -> None:
    for call in (fastlstm.load, fastlstm.describe, fastlstm.verify):
        with pytest.raises(InputError, match="isolated: expected True, False or a fastlstm.Isolation, found"):
            call(h5, isolated=isolated)


@pytest.mark.parametrize(
    "bounds",
    [{"cpu_seconds": 0}, {"seconds": -1}, {"max_bytes": 1.5}, {"max_bytes": True}, {"seconds": "5"}, {"seconds": float("inf")},
     {"cpu_seconds": float("nan")}, {"max_bytes": 1 << 70}],
    ids=str,
)  # fmt: skip
def test_limits_are_numbers(bounds: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"isolated: {next(iter(bounds))}: expected a"):
        Isolation(**bounds)


def test_folders_devices_and_absent_files(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent", "/dev/zero", "a\0b", "x" * 5000):
        same_as_here(path)


def test_zip_names_of_any_code_page(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.jsoX", "{}")
    path.write_bytes(path.read_bytes().replace(b"config.jsoX", b"config.jso\xe9"))
    assert same_as_here(path)[0] is FormatError


def test_command_line(tmp_path: Path, h5: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", X)
    target = str(tmp_path / "m.fastlstm")
    for command in (["inspect", str(h5)], ["verify", str(h5)], ["predict", str(h5), str(tmp_path / "x.npy")], ["convert", str(h5), target],
                    ["verify", target]):  # fmt: skip
        assert cli.main(command) == 0
        expected = capsys.readouterr()
        assert cli.main([*command, "--isolated"]) == 0
        assert capsys.readouterr() == expected
    assert cli.main(["convert", str(h5), target, "--isolated", "--keras"]) == 1
    assert "leave one of them out" in capsys.readouterr().err
