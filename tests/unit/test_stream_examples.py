"""The examples of streams in docs/streams.md run, and do what it says of them."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5_files
import numpy as np
import pytest

import fastlstm

PAGE = Path(__file__).parents[2] / "docs" / "streams.md"
CONNECTIONS, MESSAGES = 20, 200


def example(name: str) -> dict[str, Any]:
    """The names that an example of the page defines."""
    found = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"{PAGE.name} has no example {name}"
    namespace: dict[str, Any] = {}
    exec(compile(found[1], f"{PAGE.name}, example {name}", "exec"), namespace)
    return namespace


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> fastlstm.Model:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    return fastlstm.load(
        h5_files.save(tmp_path / "model.h5", [h5_files.recurrent("LSTM", 32, 3, rng), h5_files.dense(1, 32, rng)], (None, 3))
    )


def test_service(model: fastlstm.Model, figure: Callable[[str, str], None]) -> None:
    service = example("service")
    x = np.random.default_rng(1).normal(size=(CONNECTIONS, MESSAGES, 3)).astype(np.float32)
    latencies: list[float] = []

    async def client(port: int, sequence: np.ndarray) -> list[float]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for step in sequence:
            before = time.perf_counter()
            writer.write(json.dumps(step.tolist()).encode() + b"\n")
            answer = json.loads(await reader.readline())
            latencies.append(time.perf_counter() - before)
        writer.close()
        await writer.wait_closed()
        return answer

    async def both() -> tuple[list[list[float]], float]:
        server = await asyncio.start_server(service["connection"], "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            before = time.perf_counter()
            answers = await asyncio.gather(*(client(port, sequence) for sequence in x))
            return answers, time.perf_counter() - before

    answers, seconds = asyncio.run(both())
    np.testing.assert_array_equal(np.array(answers, np.float32), model.predict(x))
    p99 = np.percentile(latencies, 99) * 1e3
    rate = len(latencies) / seconds
    figure("service", f"{CONNECTIONS} connections, {rate:,.0f} messages a second, p99 {p99:.1f} ms (client in the same loop)")


def test_loop_at_125_hz(model: fastlstm.Model, figure: Callable[[str, str], None]) -> None:
    x = np.random.default_rng(1).normal(size=(125, 1, 3)).astype(np.float32)
    p50, p99, p999 = example("loop")["run"](model, lambda tick: x[tick], seconds=1)
    assert 0 < p50 <= p99 <= p999
    figure("125 Hz loop", f"step p50 {p50:.1f} us, p99 {p99:.1f} us, p99.9 {p999:.1f} us over 125 steps")
