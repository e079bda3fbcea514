"""The process that reads files of strangers: limits that hold, whatever lies beside the script, and an end in all cases."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import fastlstm
from fastlstm import limits
from fastlstm.errors import FormatError, InputError
from fastlstm.isolation import parent
from fastlstm.isolation.parent import Isolation

pytestmark = pytest.mark.slow

X = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
limited = pytest.mark.skipif(os.name == "nt", reason="no limits but the clock on Windows")
ADVISED = re.compile(r"isolated=fastlstm.Isolation\((\w+)=([\d.]+)\) allows more")


# -- what the other process may do ----------------------------------------------------------------------------------------


def instead(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let reading processes run other code than ``main()``, which they have imported."""
    start = "import ctypes, os, signal, socket, sys, time, fastlstm.isolation.child as reader"
    monkeypatch.setattr(parent, "COMMAND", "\n".join((parent.COMMAND.removesuffix("main()"), start, code)))


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
    monkeypatch.setattr(parent.handover, "HEADS", 1 << 20)
    monkeypatch.setattr(limits, "FREE_BYTES", 1 << 20)
    monkeypatch.setattr(limits, "SPREAD", 1)
    instead(monkeypatch, reading("while True: os.write(1, bytes(1 << 16))"))
    assert "gave more than" in says(h5)


@limited
@pytest.mark.parametrize("code", ["open('/dev/null')", "socket.socket()", "os.fork()", "os.pipe()"])
def test_the_kernel_refuses_too(monkeypatch: pytest.MonkeyPatch, h5: Path, code: str) -> None:
    """Python's hook does not see what compiled code tries; the limits hold all the same."""
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
def test_hdf5_that_hangs_or_takes_all_memory(tmp_path: Path) -> None:
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
def test_advice_helps(h5: Path) -> None:
    os.truncate(h5, 200_000_000)  # HDF5 minds no more than a truncated one
    message = says(h5, max_bytes=150_000_000)
    advised = re.search(r"isolated=fastlstm.Isolation\(max_bytes=(\d+)\) allows more", message)
    assert advised
    assert fastlstm.load(h5, isolated=Isolation(max_bytes=int(advised[1]))).predict(X).shape == (2, 2)
    with pytest.raises(FormatError, match="needs more than"):
        fastlstm.load(h5, isolated=Isolation(max_bytes=300_000_000))


@pytest.mark.parametrize(
    "bounds",
    [{"cpu_seconds": 0}, {"seconds": -1}, {"max_bytes": 1.5}, {"max_bytes": True}, {"seconds": "5"}, {"seconds": float("inf")},
     {"cpu_seconds": float("nan")}, {"max_bytes": 1 << 70}, {"seconds": 1 << 60}, {"cpu_seconds": 1_000_001}],
    ids=str,
)  # fmt: skip
def test_limits_are_numbers(bounds: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"isolated: {next(iter(bounds))}: expected a"):
        Isolation(**bounds)


@pytest.mark.parametrize(
    "bounds", [{"seconds": 1e-9}, {"seconds": 400_000.0}, {"cpu_seconds": 999_999}, {"max_bytes": (1 << 60) - 1}], ids=str
)
def test_advice_is_taken(h5: Path, bounds: dict[str, Any]) -> None:
    limit = next(iter(bounds))
    advised = ADVISED.search(str(parent.beyond("m.h5", Isolation(**bounds), limit)))
    assert advised
    value = float(advised[2]) if limit == "seconds" else int(advised[2])
    assert value > bounds[limit]
    fastlstm.load(h5, isolated=Isolation(**{advised[1]: value}))


def test_nothing_is_advised_beyond_the_largest_limits(h5: Path) -> None:
    largest = Isolation(cpu_seconds=10**6, max_bytes=1 << 60, seconds=10**6)
    fastlstm.load(h5, isolated=largest)
    for limit in ("cpu_seconds", "max_bytes", "seconds"):
        assert str(parent.beyond("m.h5", largest, limit)).endswith("no limit is larger")


@limited
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the system does not tell what memory a process has")
@pytest.mark.parametrize("size", [1 << 20, 40 << 20, 120 << 20])
def test_less_memory_than_any_file_takes(h5: Path, size: int) -> None:
    with pytest.raises(InputError, match=f"isolated: max_bytes: reading takes .* found {size}") as caught:
        fastlstm.load(h5, isolated=Isolation(max_bytes=size))
    advised = ADVISED.search(str(caught.value))
    assert advised
    assert fastlstm.load(h5, isolated=Isolation(max_bytes=int(advised[2]))).predict(X).shape == (2, 2)


@limited
@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("reader.resource = None", "None is not the module resource of Python"),
        ("reader.resource = type(sys)('resource')", "is not the module resource of Python"),
        ("reader.resource.setrlimit = lambda kind, limits: None", "is not the module resource of Python"),
        ("import operator; reader.resource.setrlimit = operator.is_", r"RLIMIT_CPU: expected \(1., 1.\), found"),
    ],
)
def test_limits_that_are_not_in_force(monkeypatch: pytest.MonkeyPatch, h5: Path, code: str, what: str) -> None:
    instead(monkeypatch, f"{code}\nmain()")
    with pytest.raises(InputError, match=f"isolated: the process that is to read has no limit.*{what}"):
        fastlstm.load(h5, isolated=True)


@limited
@pytest.mark.parametrize("code", ["del reader.resource.RLIMIT_NPROC", "reader.resource.setrlimit(reader.resource.RLIMIT_CPU, (5, 5))"])
def test_limits_that_a_system_lacks_or_has(monkeypatch: pytest.MonkeyPatch, h5: Path, code: str) -> None:
    instead(monkeypatch, f"{code}\nmain()")
    fastlstm.load(h5, isolated=True)


# -- its life -------------------------------------------------------------------------------------------------------------


SLEEPS = """
import signal, sys
import fastlstm
signal.signal(signal.SIGINT, signal.default_int_handler)  # which Python leaves out where whoever starts it ignores SIGINT
from fastlstm.isolation import parent
parent.COMMAND = parent.COMMAND.removesuffix("main()") + '''
import os, sys, time
import fastlstm.isolation.child as reader
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
    monkeypatch.setattr(parent, "SELECTS", False)
    np.testing.assert_array_equal(fastlstm.load(h5, isolated=True).predict(X), fastlstm.load(h5).predict(X))
    instead(monkeypatch, reading("time.sleep(100)"))
    assert "reading it takes more than 2 s:" in says(h5, seconds=2)


@limited
@pytest.mark.parametrize("start", [["prog.py"], ["-m", "prog"]], ids=str)
def test_modules_of_a_project_do_not_stand_for_those_of_python(tmp_path: Path, h5: Path, start: list[str]) -> None:
    """Also in the current folder, which is one of the project's with ``-m``."""
    folder = tmp_path / "project"
    folder.mkdir()
    for name in ("resource", "own"):
        (folder / f"{name}.py").write_text(f"import os\nos.write(2, b'{name} was run')")
    (folder / "prog.py").write_text(
        "import sys, fastlstm\nfrom fastlstm.isolation import parent\n"
        "if sys.argv[2:]:\n    parent.COMMAND = parent.COMMAND.removesuffix('main()') + sys.argv[2]\n"
        "import subprocess\nsubprocess.DEVNULL = None\n"  # the reader's standard error is this one's
        "try:\n    fastlstm.load(sys.argv[1], isolated=fastlstm.Isolation(max_bytes=400_000_000))\n"
        "except fastlstm.FastLSTMError as error:\n    print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

    def run(*code: str) -> tuple[str, str]:
        command = [sys.executable, *start, str(h5), *code]
        ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
        return ran.stdout, ran.stderr

    assert run() == ("", "")
    hungry = "import fastlstm.isolation.child as reader\n" + reading("return bytes(1 << 30)")
    said, errors = run(f"\n{hungry}")
    assert "reading it needs more than 400000000 bytes of memory" in said
    assert not errors
    assert run("\nimport own\nmain()") == ("", "own was run")


@pytest.mark.parametrize("odd", [Path("/tmp"), b"/tmp", None], ids=repr)
def test_what_python_passes_over_in_its_path(monkeypatch: pytest.MonkeyPatch, h5: Path, odd: Any) -> None:
    monkeypatch.setattr(sys, "path", [odd, *sys.path, odd])
    fastlstm.load(h5, isolated=True)


@pytest.mark.skipif(sys.platform != "linux", reason="pipes are of one size")
@pytest.mark.parametrize("error", [PermissionError(1, "not permitted"), OSError(22, "invalid")], ids=repr)
def test_pipes_that_stay_small(monkeypatch: pytest.MonkeyPatch, h5: Path, error: OSError) -> None:
    """As where a user has too many, or larger ones than the system grants."""
    fcntl, asked = pytest.importorskip("fcntl"), []

    def refuse(*arguments: Any) -> None:
        asked.append(arguments)
        raise error

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    np.testing.assert_array_equal(fastlstm.load(h5, isolated=True).predict(X), fastlstm.load(h5).predict(X))
    assert asked


@limited
def test_answers_of_processes_that_have_ended(monkeypatch: pytest.MonkeyPatch, h5: Path) -> None:
    """An answer that comes between a look at the pipe and one at the process is heard."""
    poll = subprocess.Popen.poll
    monkeypatch.setattr(subprocess.Popen, "poll", lambda process: time.sleep(1) or poll(process))
    monkeypatch.setattr(parent, "GLANCE", 1e-3)
    fastlstm.load(h5, isolated=True)
