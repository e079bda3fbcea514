"""Several workers at one port: they serve the same versions, at whatever moment; one that is killed takes nobody else along."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import services
from shelves import put
from test_serve_command import X, asked, serving

import fastlstm
from fastlstm.serving.server import workers
from fastlstm.serving.server.workers import Agreement, Slot, take_slot

pytestmark = pytest.mark.slow


def processes(running: services.Running) -> list[int]:
    """The workers that live, by their own words."""
    found = [int(number) for number in re.findall(r"Started server process \[(\d+)\]", running.lines)]
    return [number for number in found if Path(f"/proc/{number}/cmdline").exists() and Path(f"/proc/{number}/cmdline").read_bytes()]


def loaded(running: services.Running) -> int:
    """How many workers serve the model, as whichever is asked knows."""
    try:
        found = re.search(r'^fastlstm_model_loaded\{model="m",version="1"\} (\d)', httpx.get(f"{running.url}/metrics").text, re.MULTILINE)
    except httpx.TransportError:
        return -1
    return int(found[1]) if found else 0


class Asking:
    """Clients who ask all the time, each request on a connection of its own, so that every worker comes to answer."""

    def __init__(self, running: services.Running, ways: dict[str, Any], clients: int = 4):
        self.running, self.ways = running, ways
        self.answers: list[tuple[float, float, str]] = []  # when asked, when answered, which way
        self.lost = 0
        self._end = threading.Event()
        self._threads = concurrent.futures.ThreadPoolExecutor(clients)
        self._asked = [self._threads.submit(self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(limits=limits) as client:
            while not self._end.is_set():
                start = time.monotonic()
                try:
                    found = asked(self.running, client=client)
                except httpx.TransportError:
                    self.lost += 1
                    time.sleep(0.02)
                    continue
                (way,) = [name for name, expected in self.ways.items() if np.allclose(found, expected, atol=1e-6)] or ["wrong"]
                self.answers.append((start, time.monotonic(), way))

    def stop(self) -> None:
        self._end.set()
        for one in self._asked:
            one.result()
        self._threads.shutdown()

    def counts(self) -> collections.Counter[str]:
        return collections.Counter(way for _, _, way in self.answers)


def answered(asking: Asking, more: int) -> None:
    """Wait for so many more answers."""
    wanted = len(asking.answers) + more
    services.wait(lambda: len(asking.answers) >= wanted)


@contextlib.contextmanager
def asked_while_files_change(path: Path, old: Path, new: Path) -> Iterator[Asking]:
    """Two workers, who serve the old model and see soon what replaces it, are asked all the time."""
    put(old, path)
    ways = {"old": fastlstm.load(old).predict(X), "new": fastlstm.load(new).predict(X)}
    with serving(path.parent, f"m={path}", "--workers", 2, "--poll-seconds", 0.4, "--access-log", "none") as running:
        services.wait(lambda: loaded(running) == 2)
        asking = Asking(running, ways)
        try:
            yield asking
        finally:
            asking.stop()


def test_a_worker_that_is_killed(model: Path, tmp_path: Path) -> None:
    """Others answer meanwhile, it is started again, and nobody gets a wrong answer."""
    with serving(tmp_path, f"m={model}", "--workers", 2, "--access-log", "none") as running:
        services.wait(lambda: loaded(running) == 2)
        asking = Asking(running, {"right": fastlstm.load(model).predict(X)})
        try:
            answered(asking, 50)
            os.kill(processes(running)[0], signal.SIGKILL)
            answered(asking, 50)  # of the other
            services.wait(lambda: loaded(running) == 1)
            services.wait(lambda: loaded(running) == 2)  # the dead are not counted, and it is there again
            answered(asking, 50)
        finally:
            asking.stop()
        assert set(asking.counts()) == {"right"} and asking.lost <= 4  # what the killed one had just taken
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=30) == 0


def test_a_worker_that_ends_while_it_is_asked_how_it_is(model: Path, tmp_path: Path) -> None:
    """Nobody waits for its answer: it is started again at once, and the service ends at once when it should."""
    with serving(tmp_path, f"m={model}", "--workers", 2, "--access-log", "none") as running:
        services.wait(lambda: loaded(running) == 2)
        stopped, other = processes(running)
        os.kill(stopped, signal.SIGSTOP)
        time.sleep(1.5)  # the supervisor asks every half a second
        os.kill(stopped, signal.SIGKILL)
        services.wait(lambda: len(set(processes(running)) - {stopped, other}) == 1, patience=30)  # the supervisor's own patience is 60 s
        os.kill(other, signal.SIGSTOP)
        time.sleep(1.5)
        os.kill(other, signal.SIGKILL)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(timeout=30) == 0


def test_all_workers_change_over_together(model: Path, other: Path, tmp_path: Path) -> None:
    """No client sees the new version and then, a moment later, the old one again."""
    path = tmp_path / "m.h5"
    with asked_while_files_change(path, model, other) as asking:
        for n, way in enumerate(["new", "old", "new"]):
            answered(asking, 20)
            mark = len(asking.answers)
            put(other if n % 2 == 0 else model, path)
            services.wait(lambda way=way: asking.answers[-1][2] == way)
            time.sleep(0.3)
            first = next(end for _, end, found in asking.answers[mark:] if found == way)
            answered(asking, 100)
            late = [found for start, _, found in asking.answers[mark:] if start > first + 0.3]
            assert set(late) == {way}
    assert set(asking.counts()) == {"old", "new"} and not asking.lost


def test_a_broken_model_and_a_killed_worker(model: Path, other: Path, tmp_path: Path) -> None:
    """The file is broken, so that a worker that is started again cannot serve what the other does: it answers nobody until it can."""
    path = tmp_path / "m.h5"
    with asked_while_files_change(path, model, other) as asking:
        running = asking.running
        (tmp_path / "broken").write_bytes(b"\x89HDF\r\n\x1a\n")
        put(tmp_path / "broken", path)
        services.wait(lambda: running.lines.count("cannot be loaded, version 1 is still served") == 2)
        killed = processes(running)[0]
        os.kill(killed, signal.SIGKILL)
        services.wait(lambda: "cannot serve what the others do, and is tried again" in running.lines)
        answered(asking, 100)
        assert set(asking.counts()) == {"old"}
        put(other, path)
        services.wait(lambda: asking.answers[-1][2] == "new")
        answered(asking, 50)
        services.wait(lambda: loaded(running) == 2)
    assert "wrong" not in asking.counts() and asking.lost <= 4


def test_workers_end_with_who_started_them(model: Path, tmp_path: Path) -> None:
    with serving(tmp_path, f"m={model}", "--workers", 2, "--sequence-ports") as running:
        services.wait(lambda: len(processes(running)) == 2)
        left = processes(running)
        ports = [int(port) for port in re.findall(r":(\d+)", re.search(r"^sequences: .*", running.lines, re.MULTILINE)[0])]
        assert len({running.port, *ports}) == 3
        for port in ports:
            assert services.answers(f"http://127.0.0.1:{port}")
        running.process.kill()
        services.wait(lambda: not processes(running), patience=20)
        assert len(left) == 2


# -- how they agree ----------------------------------------------------------------------------------------------------------


def together(*calls: Callable[[], Any]) -> list[Any]:
    """The results of calls that wait for each other."""
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as threads:
        return [one.result() for one in [threads.submit(call) for call in calls]]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[[], Agreement]]:
    """Makes one worker of two."""
    made: list[Agreement] = []

    def make(waits: bool = True) -> Agreement:
        made.append(Agreement(take_slot(str(tmp_path), 2), waits=waits))
        return made[-1]

    yield make
    for one in made:
        one.slot.lock.release()


def never() -> bool:
    return False


def test_places(worker: Callable[[], Agreement], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "SLOTS_PATIENCE", 0.2)
    first, second = worker().slot, worker().slot
    assert (first.number, second.number) == (0, 1) and Slot.here is second
    with pytest.raises(RuntimeError, match="expected one of 2 places for workers to be free, found none"):
        worker()
    first.lock.release()
    assert worker().slot.number == 0


def test_all_or_none(worker: Callable[[], Agreement], tmp_path: Path) -> None:
    one, two = worker(), worker()
    assert together(lambda: one.reached("m", 1, "a", True, never), lambda: two.reached("m", 1, "a", True, never)) == [True, True]
    assert together(lambda: one.reached("m", 2, "a", True, never), lambda: two.reached("m", 2, "a", False, never)) == [False, False]
    # The file is replaced: what was said of the earlier one does not count.
    assert together(lambda: one.reached("m", 2, "b", True, never), lambda: two.reached("m", 2, "b", True, never)) == [True, True]
    assert len(list(tmp_path.iterdir())) == 2 + 3 + 3  # and does not pile up


def test_nobody_waits_for_the_dead(worker: Callable[[], Agreement]) -> None:
    one, two = worker(), worker()
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(one.reached, "m", 1, "a", True, never)
        time.sleep(0.3)
        assert not waiting.done()
        two.slot.lock.release()
        assert waiting.result(timeout=10)
    assert worker().reached("m", 1, "a", True, never)  # started again: it is agreed already


def test_nobody_waits_beyond_the_end(worker: Callable[[], Agreement]) -> None:
    one, _ = worker(), worker()
    end = threading.Event()
    threading.Timer(0.2, end.set).start()
    assert not one.reached("m", 1, "a", True, end.is_set)


def test_where_nobody_looks_for_changes_none_is_let_in(worker: Callable[..., Agreement]) -> None:
    one, two = worker(waits=False), worker(waits=False)
    assert together(lambda: one.reached("m", 1, "a", True, never), lambda: two.reached("m", 1, "a", True, never)) == [True, True]
    two.slot.lock.release()
    assert not worker(waits=False).reached("m", 1, "b", True, never)
