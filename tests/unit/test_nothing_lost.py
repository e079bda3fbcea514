"""Whatever fastlstm writes and whatever fails: what stood there stands. What is read is never written."""

from __future__ import annotations

import ast
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from writing_commands import EARLIER, FEATURES, KINDS, NOBODY, POSIX, Work, prepared, reads_back, run, standing

import fastlstm
from fastlstm.cli.main import main
from fastlstm.replacing import checked, writing


def failing(monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(os, call, fail)


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
FAILURES = {
    "full disk, seen when synced": ("fsync", FULL, 1, "No space left on device"),
    "full disk, seen when renamed": ("replace", FULL, 1, "No space left on device"),
    "quota": ("fsync", OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), 1, os.strerror(errno.EDQUOT)),
    "renaming forbidden": ("replace", PermissionError(errno.EPERM, os.strerror(errno.EPERM)), 1, "Operation not permitted"),
    "Ctrl-C while written": ("fsync", KeyboardInterrupt(), 130, "interrupted"),
    "Ctrl-C before it is renamed": ("replace", KeyboardInterrupt(), 130, "interrupted"),
    "no memory": ("fsync", MemoryError(), 1, "not enough memory"),
}


@pytest.mark.parametrize("earlier", [True, False], ids=["earlier file", "no file"])
@pytest.mark.parametrize("failure", FAILURES)
def test_failure(work: Work, failure: str, earlier: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if earlier:
        work.target.write_bytes(EARLIER)
    before = standing(work.target.parent)
    call, error, code, reason = FAILURES[failure]
    failing(monkeypatch, call, error)
    assert run(work) == code
    message = capsys.readouterr().err
    assert message.startswith("fastlstm: error: ")
    assert message.count("\n") == 1
    assert reason in message
    if isinstance(error, OSError):
        assert str(work.target) in message
        assert ("the earlier file is left as it was" in message) == earlier
    assert standing(work.target.parent) == before


def limited(work: Work, size: int) -> subprocess.CompletedProcess[str]:
    """The command in a process none of whose files may grow beyond a size: a disk that is full for it."""
    import resource

    script = "import sys; from fastlstm.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", script, *work.arguments, str(work.target)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(fastlstm.__file__).parents[1],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )  # fmt: skip


@pytest.mark.slow
@POSIX
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 100])
def test_disk_that_is_really_full(kind: str, size: int, tmp_path: Path, written_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = prepared(kind, tmp_path, written_model, monkeypatch)
    work.target.write_bytes(EARLIER)
    before = standing(tmp_path)
    done = limited(work, size)
    assert done.returncode == 1
    assert done.stderr.endswith(f"{work.target}: cannot be written (File too large); the earlier file is left as it was\n")
    assert "Traceback" not in done.stderr
    assert standing(tmp_path) == before


@contextmanager
def as_nobody() -> Iterator[None]:
    """Permissions do not bind root."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user reaches, which pytest's own is not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@POSIX
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["folder", "file"])
def test_protected(
    kind: str, what: str, open_folder: Path, written_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = prepared(kind, open_folder, written_model, monkeypatch)
    assert run(work) == 0  # imports what is needed, while that may be read
    for path in open_folder.iterdir():
        path.chmod(0o644)
    work.target.write_bytes(EARLIER)
    work.target.chmod(0o666 if what == "folder" else 0o444)
    open_folder.chmod(0o555 if what == "folder" else 0o777)
    before = standing(open_folder)
    capsys.readouterr()
    with as_nobody():
        assert run(work) == 1
    message = capsys.readouterr().err
    assert f"{work.target}: cannot be written: " in message
    assert ("the file is write-protected" if what == "file" else f"no file can be made in the folder {open_folder}") in message
    assert standing(open_folder) == before


def test_place_that_is_not_there(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    before = standing(work.target.parent)
    folder = work.target.parent / "absent"
    assert run(work, folder / work.target.name) == 1
    assert f"there is no folder {folder}; make it first" in capsys.readouterr().err
    assert run(work, work.sources[0] / work.target.name) == 1
    assert "Not a directory" in capsys.readouterr().err
    assert run(work, work.target.parent / ("n" * 300 + work.target.suffix)) == 1
    assert "File name too long" in capsys.readouterr().err
    assert standing(work.target.parent) == before
    folder.mkdir()
    assert run(work, folder / work.target.name) == 0  # the advice is true
    assert reads_back(folder / work.target.name)


def test_success(work: Work) -> None:
    names = {path.name for path in work.target.parent.iterdir()}
    assert run(work) == 0
    assert reads_back(work.target)
    assert {path.name for path in work.target.parent.iterdir()} == {*names, work.target.name}
    first = work.target.read_bytes()
    work.target.write_bytes(EARLIER)
    assert run(work) == 0
    assert reads_back(work.target)
    assert work.target.name in ("out.npz", "bars.svg") or work.target.read_bytes() == first  # these hold times
    longest = work.target.with_name("n" * (255 - len(work.target.suffix)) + work.target.suffix)
    assert run(work, longest) == 0
    assert reads_back(longest)


# -- the source is never the target ---------------------------------------------------------------------------------------------------


def spelled(spelling: str, source: Path, ending: str) -> str:
    """Another name of a file, which ends as wanted if it is a link."""
    folder, name = source.parent, source.name
    link = folder / f"link{ending}"
    if spelling == "link":
        link.symlink_to(source)
    elif spelling == "link to a link":
        (folder / "first").symlink_to(name)
        link.symlink_to("first")
    elif spelling == "hard link":
        os.link(source, link)
    elif spelling == "linked folder":
        (folder / "other").symlink_to(".")
    return {
        "same": str(source),
        "dot": os.path.join(folder, ".", name),
        "relative": os.path.relpath(source),
        "up and down": os.path.join(folder, "..", folder.name, name),
        "linked folder": os.path.join(folder, "other", name),
    }.get(spelling, str(link))


SPELLINGS = ("same", "dot", "relative", "up and down", "linked folder")
LINKS = ("link", "link to a link", "hard link")
SOURCES = {"svg": 1, "bars": 1, "convert": 1, "npy": 2, "npz": 2, "csv": 2, "plot": 3}  # predict reads the data, then the model
NAMED = [
    (kind, number, spelling)
    for kind in KINDS
    for number in range(SOURCES[kind])
    for spelling in (SPELLINGS + LINKS if number == 0 or kind == "plot" else LINKS)  # predict's -o must end as its own kind
]


@POSIX
@pytest.mark.parametrize(("kind", "number", "spelling"), NAMED)
def test_source_is_no_target(
    kind: str, number: int, spelling: str, tmp_path: Path, written_model: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    work = prepared(kind, tmp_path, written_model, monkeypatch)
    source = work.sources[number]
    target = spelled(spelling, source, work.target.suffix)
    before = standing(tmp_path)
    assert run(work, target) == 1
    message = capsys.readouterr().err
    assert message.startswith("fastlstm: error: ")
    assert f"{os.path.basename(target)}: cannot be written: it is the file that is read" in message
    assert "name another" in message
    assert standing(tmp_path) == before


@POSIX
@pytest.mark.parametrize("command", ["convert", "predict"])
def test_architecture_is_no_target(command: str, tmp_path: Path, written_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    architecture, link, data = tmp_path / "model.json", tmp_path / "link.npy", tmp_path / "x.npy"
    architecture.write_text("{}")
    link.symlink_to(architecture)
    np.save(data, np.zeros((1, 2, FEATURES)))
    arguments = [str(written_model), str(link)] if command == "convert" else [str(written_model), str(data), "-o", str(link)]
    assert main([command, *arguments, "--architecture", str(architecture)]) == 1
    assert f"is the file that is read ({architecture})" in capsys.readouterr().err
    assert architecture.read_text() == "{}"


def test_source_is_found_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "no model"
    path.write_bytes(EARLIER)
    with pytest.raises(fastlstm.InputError, match=f"{path}: .* is the file that is read"):
        fastlstm.convert(path, path)
    with path.open("rb") as opened, pytest.raises(fastlstm.InputError, match="name another"):
        checked(path, opened)
    assert path.read_bytes() == EARLIER


def test_open_hdf5_file_is_no_target(written_model: Path) -> None:
    import h5py

    with h5py.File(written_model) as opened, pytest.raises(fastlstm.InputError, match="name another"):
        checked(written_model, opened)


def test_what_is_no_file_is_no_source(tmp_path: Path, written_model: Path) -> None:
    target = str(tmp_path / "y.csv")
    for path in (target, str(written_model)):
        assert checked(path, None, {"class_name": "Sequential"}, '{"class_name": "Model"}' * 1000, b"\0" * 10, 5.0) == path


@pytest.mark.parametrize(
    ("target", "expected"),
    [(5, "dst: expected a path, found int"), ("a\0b", "cannot be written"), ("", "dst: expected a path, found an empty one")],
)
def test_no_path_at_all(written_model: Path, target: object, expected: str) -> None:
    with pytest.raises(fastlstm.InputError, match=expected):
        fastlstm.convert(written_model, target)  # type: ignore[arg-type]


# -- by itself ---------------------------------------------------------------------------------------------------------------------


def test_an_error_of_ones_own_leaves_the_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(EARLIER)

    def half() -> None:
        with writing(target) as stream:
            stream.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert standing(tmp_path) == {"file": (target.stat().st_mode, "", EARLIER)}


def test_two_writers(tmp_path: Path) -> None:
    """Each has a file of its own until it is done; the last one stands, whole."""
    target = tmp_path / "file"
    with writing(target) as one:
        one.write(b"one")
        with writing(target) as other:
            other.write(b"other")
        assert target.read_bytes() == b"other"
        one.write(b" and all")
    assert target.read_bytes() == b"one and all"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def writers(tree: ast.AST) -> Iterator[str]:
    """The beginning of every call that opens a file to write it, or writes one under its name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            modes = [value.value for value in (*node.args, *(word.value for word in node.keywords)) if isinstance(value, ast.Constant)]
            opens = name in ("open", "fdopen", "ZipFile") and any(mode in ("w", "wb", "x", "xb", "a", "ab", "r+b") for mode in modes)
            if opens or name in ("save", "savez", "savez_compressed", "savetxt", "savefig", "tofile", "write_text", "write_bytes"):
                yield ast.unparse(node.func) + "(" + ", ".join(map(ast.unparse, node.args[:1]))


def test_nothing_is_written_another_way() -> None:
    """Every file goes through fastlstm.replacing; kernels/compile.py writes when the package is built."""
    into_a_stream = {
        "cli/progress.py": {"open(descriptor"},  # the terminal that shows a bar
        "cli/arrayfiles.py": {"np.save(stream", "zipfile.ZipFile(stream", "archive.open(f'{member}.npy'"},
        "batch/files/arrays.py": {"zipfile.ZipFile(self.stream", "archive.open(f'{name}.npy'"},
        "batch/jobs/locks.py": {"open(self.path"},  # a file that is held, and says nothing
        "batch/streams.py": {"save(self.state(key)"},  # gives bytes
        "caching.py": {"open(descriptor"},  # beside its place too, but for this user alone, and with no permissions of what was there
        "demo.py": {"figure.savefig(image"},
        "formats/own.py": {"save(tensors"},  # gives bytes
        "serving/state/keeping.py": {"save(state.stream.state"},  # gives bytes
        "formats/several.py": {"zipfile.ZipFile(out"},  # in memory
    }
    package = Path(fastlstm.__file__).parent
    for path in package.rglob("*.py"):
        name = path.relative_to(package).as_posix()
        if name not in ("replacing.py", "kernels/compile.py"):
            found = set(writers(ast.parse(path.read_text(encoding="utf-8"))))
            assert found == into_a_stream.get(name, set()), name
