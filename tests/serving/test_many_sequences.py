"""Thousands of sequences over HTTP, mixed over many clients: nothing is lost, nothing mixed up, and memory is what it was."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import services
from sweeping import SWEEP

import fastlstm

FEATURES = 3
MIB = 1 << 20


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[services.Running]:
    with services.service(tmp_path_factory.mktemp("many"), {"m": model}, max_sequences=20_000) as made:
        yield made


class Plan:
    """What a sequence sends: for each request so many timesteps, of which a single one may come without a time axis."""

    def __init__(self, number: int, requests: int, ends: bool = True):
        rng = random.Random(number)
        self.key: int | str = number + 1 if number % 3 else f"sequence-{number}"
        self.lengths = [rng.choice((1, 1, 1, 1, 2, 4)) for _ in range(requests)]
        self.x = np.random.default_rng(number).normal(size=(sum(self.lengths), FEATURES)).astype(np.float32)
        self.ends = ends
        self.done, self.at = 0, 0
        self.y: list[np.ndarray] = []

    def body(self, name: str) -> dict[str, Any]:
        """The next request."""
        length = self.lengths[self.done]
        part = self.x[self.at : self.at + length]
        shape = [1, FEATURES] if length == 1 else [1, length, FEATURES]
        flags = {"sequence_start": self.done == 0, "sequence_end": self.ends and self.done == len(self.lengths) - 1}
        tensor = {"name": name, "datatype": "FP32", "shape": shape, "data": part.ravel().tolist()}
        return {"parameters": {"sequence_id": self.key, **flags}, "inputs": [tensor]}

    def note(self, status: bytes, answer: bytes) -> None:
        assert status == b"200", answer
        (output,) = json.loads(answer)["outputs"]
        self.y.append(np.array(output["data"], np.float32).reshape(output["shape"])[0])
        self.at += self.lengths[self.done]
        self.done += 1


class Client:
    """A connection of its own, which costs little: thousands of requests are sent on a machine that is busy with their answers."""

    async def open(self, port: int) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)

    async def ask(self, value: Any) -> tuple[bytes, bytes]:
        """Status and body of the answer."""
        body = json.dumps(value).encode()
        self.writer.write(b"POST /v2/models/m/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return head.split(b" ", 2)[1], await self.reader.readexactly(length)


async def work(port: int, name: str, plans: list[Plan], clients: int) -> None:
    """All plans, whose requests any client sends, one of a plan at a time, in a mixed order."""
    rng, waiting = random.Random(0), [plan for plan in plans for _ in plan.lengths]
    rng.shuffle(waiting)
    locks = {plan.key: asyncio.Lock() for plan in plans}
    todo = iter(waiting)

    async def send() -> None:
        client = Client()
        await client.open(port)
        for plan in todo:
            async with locks[plan.key]:
                plan.note(*await client.ask(plan.body(name)))
        client.writer.close()

    await asyncio.gather(*(send() for _ in range(clients)))


def check(model: fastlstm.Model[Any], plans: list[Plan]) -> None:
    """Is each answer what ``predict`` gives for the sequence so far?"""
    by_length: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}
    for plan in plans:
        assert plan.done == len(plan.lengths) == len(plan.y)
        for end, y in zip(np.cumsum(plan.lengths), plan.y, strict=True):
            by_length.setdefault(int(end), []).append((plan.x[:end], y))
    for pairs in by_length.values():
        wanted = model.predict(np.array([x for x, _ in pairs]))
        assert np.allclose(np.array([y for _, y in pairs]), wanted, rtol=1e-5, atol=2e-6)


def states(running: services.Running) -> float:
    """How many sequences have a state, as the metrics say."""
    text = httpx.get(f"{running.url}/metrics").text
    found = re.search(r'^fastlstm_streams\{kind="sequence",model="m"\} ([\d.]+)$', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def run(running: services.Running, model: Path, plans: list[Plan], clients: int) -> None:
    loaded = fastlstm.load(model)
    asyncio.run(work(running.port, loaded.inputs[0].name, plans, clients))
    check(loaded, plans)


@pytest.mark.parametrize(("count", "requests", "clients"), [(60, 3, 16), pytest.param(5000, 8, 64, marks=SWEEP)], ids=["lean", "5,000"])
def test_nothing_is_lost_or_mixed_up(running: services.Running, model: Path, count: int, requests: int, clients: int) -> None:
    memory = []
    for _ in range(3):  # the same keys again: each begins anew
        run(running, model, [Plan(number, requests) for number in range(count)], clients)
        assert states(running) == 0
        memory.append(running.memory)
    assert memory[-1] - memory[0] < 8 * MIB, memory


@pytest.mark.slow
def test_those_that_are_left_go(model: Path, tmp_path: Path) -> None:
    idle = 15.0  # more than one waits for its turn on a busy machine
    with services.service(tmp_path, {"m": model}, sequence_idle_seconds=idle) as running:
        plans = [Plan(number, 3, ends=number % 2 == 0) for number in range(100)]
        run(running, model, plans, 8)
        assert states(running) == 50
        services.wait(lambda: states(running) == 0, running.process, running.log, patience=4 * idle)
        plan = plans[1]
        plan.done, plan.at = 1, plan.lengths[0]
        refused = httpx.post(f"{running.url}/v2/models/m/infer", json=plan.body(fastlstm.load(model).inputs[0].name))
        assert refused.status_code == 400
        assert "must specify the START flag on the first request of the sequence" in refused.json()["error"]
        assert "as it had no timestep for 15 s" in refused.json()["error"]
