"""The examples of streams in docs/tutorials (streams.md, seq2seq.md) do what these pages say of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import golden
import h5_files
import numpy as np
import pytest
from layer_examples import tool

import fastlstm

PAGES = [Path(__file__).parents[2] / "docs" / "tutorials" / f"{name}.md" for name in ("streams", "seq2seq")]
#: Made by tools/train_examples.py.
TRAINED = Path(__file__).parents[1] / "corpus" / "examples"
CONNECTIONS, MESSAGES = 20, 200


def example(name: str) -> dict[str, Any]:
    """The names that an example of the pages defines."""
    found = [block.code for page in PAGES for block in tool("run_page").blocks(page) if block.mark == f"example: {name}"]
    assert len(found) == 1, f"expected one example {name}"
    namespace: dict[str, Any] = {}
    exec(compile(found[0], f"example {name}", "exec"), namespace)
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


# -- trained models ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kerass() -> dict[str, np.ndarray]:
    """What Keras gave for these models."""
    with np.load(TRAINED / "expected.npz") as arrays:
        return dict(arrays)


def trained(name: str) -> fastlstm.Model:
    return fastlstm.load(TRAINED / f"{name}.keras")


def digits_of(*numbers: int) -> np.ndarray:
    return np.array([[int(digit) + 1 for digit in str(number)] + [0] * (3 - len(str(number))) for number in numbers])


def said(words: np.ndarray | list[int], all_words: list[str]) -> str:
    """The words up to the end."""
    text = [all_words[word] for word in words]
    return " ".join(text[: text.index("<end>")])


def test_steps_are_those_of_keras(kerass: dict[str, np.ndarray]) -> None:
    digits, words, expected = (kerass[f"numbers_{name}"] for name in ("x0", "x1", "y"))
    stream = trained("numbers").stream(len(digits), initial={"digits": digits})
    golden.assert_equal(np.stack([stream.step(words[:, t]) for t in range(words.shape[1])], axis=1), expected)
    ids, expected = kerass["rhyme_x0"], kerass["rhyme_y"]
    stream = trained("rhyme").stream()
    golden.assert_equal(np.stack([stream.step(ids[:, t]) for t in range(ids.shape[1])], axis=1), expected)


def test_greedy(kerass: dict[str, np.ndarray]) -> None:
    words = kerass["words"].tolist()
    found = example("greedy")["greedy"](trained("numbers"), digits_of(7, 41, 300, 416, 999))
    assert [said(row, words) for row in found] == [
        "seven", "forty one", "three hundred", "four hundred sixteen", "nine hundred ninety nine",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [1, 3, 8])
def test_beam(kerass: dict[str, np.ndarray], width: int) -> None:
    """The same as a search that computes every beam from the beginning with each word."""
    model, words, most = trained("numbers"), kerass["words"].tolist(), 6
    beam = example("beam")["beam"]
    for number, text in ((8, "eight"), (113, "one hundred thirteen"), (572, "five hundred seventy two")):
        digits = digits_of(number)
        beams: list[tuple[float, list[int]]] = [(0.0, [1])]
        ended = []
        for _ in range(most):
            every = []
            for score, tokens in beams:
                p = model.predict([digits, np.array([tokens])])[0, -1]
                every += [(score + np.log(p[word] + 1e-30), [*tokens, word]) for word in range(len(words))]
            best = sorted(every, reverse=True)[:width]
            ended += [one for one in best if one[1][-1] == 2]
            beams = [one for one in best if one[1][-1] != 2]
        assert beam(model, digits[0], width, most) == max(ended)[1][1:]
        assert said(max(ended)[1][1:], words) == text


def test_characters(kerass: dict[str, np.ndarray]) -> None:
    model, rhyme = trained("rhyme"), str(kerass["rhyme"])
    go_on, characters = example("characters")["go_on"], sorted(set(rhyme))
    assert go_on(model, characters, "mary had", 100) == rhyme[:108]
    drawn = {go_on(model, characters, "mary", 60, temperature=1.5, seed=seed) for seed in range(3)}
    assert len(drawn) == 3


def test_ctc(kerass: dict[str, np.ndarray]) -> None:
    model = trained("digits")
    strips, labels = kerass["digits_x0"], kerass["digits_labels"]
    golden.assert_equal(model.predict(strips), kerass["digits_y"])
    assert [row.tolist() for row in example("ctc")["read"](model, strips)] == [row[row > 0].tolist() for row in labels]
