"""Targets that are more than a file by its name: links, devices, pipes, sockets, folders, standard output; and processes that end early."""

from __future__ import annotations

import functools
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from writing_commands import EARLIER, KINDS, NOBODY, POSIX, Work, prepared, reads_back, run, standing

import fastlstm

# -- links, devices, pipes, folders ---------------------------------------------------------------------------------------------------


@POSIX
def test_link_stays_a_link(work: Work) -> None:
    folder = work.target.parent / "elsewhere"
    folder.mkdir()
    real = folder / f"real{work.target.suffix}"
    (folder / "hop").symlink_to(real.name)
    work.target.symlink_to(os.path.join("elsewhere", "hop"))
    for content in (None, EARLIER):  # it leads nowhere yet; it leads to a file
        if content is not None:
            real.write_bytes(content)
            real.chmod(0o640)
        assert run(work) == 0
        assert work.target.is_symlink()
        assert reads_back(real)
        assert {path.name for path in folder.iterdir()} == {"hop", real.name}
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


@POSIX
def test_links_in_a_circle(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    work.target.symlink_to(work.target.name)
    before = standing(work.target.parent)
    assert run(work) == 1
    assert f"{work.target}: cannot be written (" in capsys.readouterr().err
    assert standing(work.target.parent) == before


@POSIX
def test_other_names_of_the_target_keep_the_earlier_file(work: Work) -> None:
    work.target.write_bytes(EARLIER)
    other = work.target.with_name("other")
    os.link(work.target, other)
    assert run(work) == 0
    assert reads_back(work.target)
    assert other.read_bytes() == EARLIER


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_permissions_are_kept(work: Work, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
    work.target.write_bytes(EARLIER)
    work.target.chmod(mode)
    seen = []
    sync = os.fsync

    def watched(descriptor: int) -> None:
        seen.append(os.fstat(descriptor).st_mode)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    assert run(work) == 0
    assert stat.S_IMODE(work.target.stat().st_mode) == mode
    assert stat.S_IMODE(seen[0]) == 0o600  # nobody else reads it before it is known who may
    assert stat.S_ISDIR(seen[-1])  # the name is on the disk too


@POSIX
def test_umask_of_new_files(work: Work) -> None:
    before = os.umask(0o027)
    try:
        assert run(work) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(work.target.stat().st_mode) == 0o640


@POSIX
@pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="only root gives files away")
def test_owner_is_kept(work: Work) -> None:
    work.target.write_bytes(EARLIER)
    os.chown(work.target, NOBODY, NOBODY)
    assert run(work) == 0
    assert (work.target.stat().st_uid, work.target.stat().st_gid) == (NOBODY, NOBODY)


def node(path: Path, minor: int) -> None:
    """A device of its own: the machine's are not risked."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        path.open("wb").close()
    except PermissionError:
        pytest.skip("no device can be made here")


@POSIX
def test_device(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    null, full = (work.target.with_name(name + work.target.suffix) for name in ("null", "full"))
    node(null, 3)
    node(full, 7)
    link = work.target.with_name(f"link{work.target.suffix}")
    link.symlink_to(null.name)
    before = standing(work.target.parent)
    assert run(work, null) == 0
    assert run(work, link) == 0
    capsys.readouterr()
    assert run(work, full) == 1
    assert f"{full}: cannot be written (No space left on device)\n" in capsys.readouterr().err
    assert standing(work.target.parent) == before


@POSIX
def test_pipe(work: Work, tmp_path: Path) -> None:
    os.mkfifo(work.target)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(work.target.read_bytes()))
    reader.start()
    assert run(work) == 0
    reader.join()
    assert stat.S_ISFIFO(work.target.stat().st_mode)
    copy = tmp_path / f"copy{work.target.suffix}"
    copy.write_bytes(got[0])
    assert reads_back(copy)


@POSIX
def test_socket(work: Work, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work.target.parent)  # the names of sockets are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(work.target.name)
        before = standing(work.target.parent)
        assert run(work) == 1
        assert f"{work.target}: cannot be written (" in capsys.readouterr().err
        assert standing(work.target.parent) == before


def test_folder(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    work.target.mkdir()
    (work.target / "content").write_bytes(EARLIER)
    before = standing(work.target.parent)
    assert run(work) == 1
    assert f"{work.target}: cannot be written: it is a folder; name a file in it" in capsys.readouterr().err
    assert standing(work.target.parent) == before
    assert (work.target / "content").read_bytes() == EARLIER
    if work.arguments[0] == "convert":
        assert run(work, str(work.target.with_name("new")) + os.sep) == 1
        assert standing(work.target.parent) == before


# -- processes ------------------------------------------------------------------------------------------------------------------------


def partials(folder: Path) -> list[Path]:
    return list(folder.glob(".fastlstm-*.partial"))


def command(work: Work, target: Path | str) -> list[str]:
    return [sys.executable, "-m", "fastlstm", *work.arguments, str(target)]


@POSIX
def test_ctrl_c_in_the_middle_of_a_file(tmp_path: Path, written_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = prepared("npy", tmp_path, written_model, monkeypatch, rows=400_000)
    target = tmp_path / "out.csv"  # takes seconds
    target.write_bytes(EARLIER)
    before = standing(tmp_path)
    # Where this runs in the background of a shell, children would ignore Ctrl-C.
    heard = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    place = Path(fastlstm.__file__).parents[1]
    with subprocess.Popen(command(work, target), stderr=subprocess.PIPE, text=True, cwd=place, preexec_fn=heard) as process:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size for path in partials(tmp_path)):
            assert process.poll() is None, "it was done before anybody could interrupt it"
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "fastlstm: error: interrupted\n"
    assert standing(tmp_path) == before


@POSIX
def test_killed_in_the_middle_of_a_file(tmp_path: Path, written_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = prepared("npy", tmp_path, written_model, monkeypatch, rows=400_000)
    target = tmp_path / "out.csv"
    target.write_bytes(EARLIER)
    with subprocess.Popen(command(work, target), cwd=Path(fastlstm.__file__).parents[1]) as process:
        while not partials(tmp_path):
            assert process.poll() is None
            time.sleep(0.002)
        process.kill()
    assert target.read_bytes() == EARLIER


@POSIX
@pytest.mark.parametrize("kind", KINDS)
def test_report_that_nobody_reads(kind: str, tmp_path: Path, written_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The printed text may get lost; the file does not."""
    work = prepared(kind, tmp_path, written_model, monkeypatch)
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as closed:
        done = subprocess.run(command(work, work.target), stdout=closed, stderr=subprocess.PIPE, check=False, cwd=tmp_path.parent)
    assert not done.stderr
    assert done.returncode == (0 if work.arguments[0] == "predict" else 141)  # predict prints nothing
    assert kind == "plot" or reads_back(work.target)
    assert not partials(tmp_path)


@POSIX
@pytest.mark.parametrize("collect", ["file", "pipe"])
def test_standard_output_as_target(collect: str, tmp_path: Path, written_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that the shell collects output in is added to, not replaced, and no report gets into the model."""
    if not Path("/dev/stdout").exists():
        pytest.skip("no /dev/stdout")
    work = prepared("convert", tmp_path, written_model, monkeypatch)
    collected = tmp_path / "all.fastlstm"
    if collect == "file":
        with collected.open("wb") as out:
            out.write(b"head")
            out.flush()
            done = subprocess.run(command(work, "/dev/stdout"), stdout=out, stderr=subprocess.PIPE, check=True)
            out.write(b"tail")
        content = collected.read_bytes()
        assert content.startswith(b"head")
        assert content.endswith(b"tail")
        collected.write_bytes(content[4:-4])
    else:
        done = subprocess.run(command(work, "/dev/stdout"), capture_output=True, check=True)
        collected.write_bytes(done.stdout)
    assert reads_back(collected)
    assert b"recorded cases checked" in done.stderr
