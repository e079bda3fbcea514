"""Thousands of sequences over HTTP, mixed over many clients: nothing is lost, nothing mixed up, and memory is what it was."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import services

import fastlstm

FEATURES = 3
MIB = 1 << 20


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Iterator[services.Running]:
    with services.service(tmp_path_factory.mktemp("many"), {"m": model}, max_sequences=20_000, sequence_idle_seconds=3.0) as made:
        yield made


class Plan:
    """What a sequence sends: for each request so many timesteps, of which a single one may come without a time axis."""

    def __init__(self, number: int, requests: int):
        rng = random.Random(number)
        self.key: int | str = number + 1 if number % 3 else f"sequence-{number}"
        self.lengths = [rng.choice((1, 1, 1, 1, 2, 4)) for _ in range(requests)]
        self.x = np.random.default_rng(number).normal(size=(sum(self.lengths), FEATURES)).astype(np.float32)
        self.ends = rng.random() < 0.7  # the others are left to be idle
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

    def note(self, answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        (output,) = answer.json()["outputs"]
        self.y.append(np.array(output["data"], np.float32).reshape(output["shape"])[0])
        self.at += self.lengths[self.done]
        self.done += 1


async def work(url: str, name: str, plans: list[Plan], clients: int) -> None:
    """All plans, whose requests any client sends, one of a plan at a time, in a mixed order."""
    rng, waiting = random.Random(0), [plan for plan in plans for _ in plan.lengths]
    rng.shuffle(waiting)
    locks = {plan.key: asyncio.Lock() for plan in plans}
    todo = iter(waiting)

    async def client() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=120) as http:
            for plan in todo:
                async with locks[plan.key]:
                    plan.note(await http.post("/v2/models/m/infer", json=plan.body(name)))

    await asyncio.gather(*(client() for _ in range(clients)))


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


@pytest.mark.parametrize(
    ("count", "requests", "clients"), [(150, 4, 16), pytest.param(5000, 8, 64, marks=pytest.mark.slow)], ids=["lean", "5,000"]
)
def test_nothing_is_lost_or_mixed_up(running: services.Running, model: Path, count: int, requests: int, clients: int) -> None:
    loaded = fastlstm.load(model)
    memory = []
    for turn in range(2 if count < 1000 else 3):
        plans = [Plan(number + turn * count, requests) for number in range(count)]
        asyncio.run(work(running.url, loaded.inputs[0].name, plans, clients))
        check(loaded, plans)
        kept = sum(not plan.ends for plan in plans)
        assert states(running) <= kept
        services.wait(lambda: states(running) == 0, running.process, running.log)  # ended, or idle
        memory.append(running.memory)
        plan = next(plan for plan in plans if not plan.ends)
        plan.done, plan.at = 1, plan.lengths[0]
        refused = httpx.post(f"{running.url}/v2/models/m/infer", json={**plan.body(loaded.inputs[0].name)})
        assert refused.status_code == 400
        assert "must specify the START flag on the first request of the sequence" in refused.json()["error"]
        assert "as it had no timestep for 3 s" in refused.json()["error"]
    assert memory[-1] - memory[0] < 8 * MIB, memory
