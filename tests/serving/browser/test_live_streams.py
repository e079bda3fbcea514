"""Streams on the page of a service: timesteps go out and are answered while somebody draws them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import services
from browsing import shown, stroke

import fastlstm


def frames(page: Any) -> tuple[list[Any], list[Any]]:
    """What goes out and comes in by WebSocket, as it does."""
    out: list[Any] = []
    came: list[Any] = []

    def listen(socket: Any) -> None:
        socket.on("framesent", lambda payload: out.append(json.loads(payload)))
        socket.on("framereceived", lambda payload: came.append(json.loads(payload)))

    page.on("websocket", listen)
    return out, came


def test_timesteps_are_answered_as_they_are_drawn(running: services.Running, opened: Callable[..., Any], models: dict[str, Path]) -> None:
    page = opened(running.url)
    out, came = frames(page)
    page.evaluate("location.hash = '#/values'")
    view = shown(page, "values")
    stroke(page, view.locator(".live svg.pad"), wait=60)
    page.wait_for_timeout(400)
    assert len(out) > 10
    assert len(out) == len(came)
    assert len({tuple(step) for step in out}) > 5  # it is the curve that goes out
    count = len(out)
    page.wait_for_timeout(300)
    assert len(out) == count  # and no more than was drawn
    stream = fastlstm.load(models["values"]).stream()
    for step, answer in zip(out, came):
        np.testing.assert_allclose(answer, stream.step(np.array([step], np.float32))[0], atol=1e-5)
    assert view.locator(".live .answer-line").text_content().startswith(f"timestep {len(out)}:")
    assert view.locator(".live .latency dd").nth(3).text_content() == str(len(out))


def test_a_stream_runs_and_begins_anew(running: services.Running, opened: Callable[..., Any], models: dict[str, Path]) -> None:
    page = opened(running.url, reduced_motion="reduce")
    out, came = frames(page)
    page.evaluate("location.hash = '#/pair'")
    view = shown(page, "pair")
    live = view.locator(".live")
    live.get_by_role("button", name="Start").click()
    page.wait_for_timeout(600)
    live.locator("input[type=range]").first.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(400)
    live.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(200)
    assert out[-1]["inputs"]["x"][0] == pytest.approx(0.2)
    live.get_by_role("button", name="Begin anew").click()
    live.get_by_role("button", name="One timestep").click()
    page.wait_for_timeout(400)
    assert out[-2:] == [{"reset": True}, out[-3]]
    stream = fastlstm.load(models["pair"]).stream()
    given = {name: np.array([values], np.float32) for name, values in out[-1]["inputs"].items()}
    for name, expected in zip(("one", "three x"), stream.step([given["x"], given["more"]])):
        np.testing.assert_allclose(came[-1]["outputs"][name], expected[0], atol=1e-5)
    assert live.locator(".answer-line").text_content().startswith("timestep 1:")


def test_a_stream_rests_while_another_model_is_looked_at(running: services.Running, opened: Callable[..., Any]) -> None:
    page = opened(running.url)
    out, _ = frames(page)
    page.evaluate("location.hash = '#/values'")
    shown(page, "values").locator(".live").get_by_role("button", name="Start").click()
    page.wait_for_timeout(500)
    assert out
    page.evaluate("location.hash = '#/classes'")
    shown(page, "classes")
    page.wait_for_timeout(100)
    count = len(out)
    page.wait_for_timeout(400)
    assert len(out) == count


def test_ids_are_streamed_one_by_one(running: services.Running, opened: Callable[..., Any], models: dict[str, Path]) -> None:
    page = opened(running.url)
    out, came = frames(page)
    page.evaluate("location.hash = '#/rhyme'")
    live = shown(page, "rhyme").locator(".live")
    stream = fastlstm.load(models["rhyme"]).stream()
    for number, word in enumerate((3, 7), start=1):
        live.get_by_label("id of the next timestep").fill(str(word))
        live.get_by_role("button", name="One timestep").click()
        page.wait_for_function(
            "count => document.querySelector('article.model:not([hidden]) .answer-line').textContent.startsWith(`timestep ${count}:`)",
            arg=number,
        )
        assert out[-1] == word
        np.testing.assert_allclose(np.ravel(came[-1]), np.ravel(stream.step(np.array([word]))), atol=1e-5)
    assert re.fullmatch(r"timestep 2: (class \d+ [\d.]+ %(, )?){3}", live.locator(".answer-line").text_content())


def test_what_cannot_be_streamed_says_why(running: services.Running, opened: Callable[..., Any]) -> None:
    page = opened(running.url + "/#/bidirectional")
    view = shown(page, "bidirectional")
    assert "(Bidirectional)" in view.locator(".why").text_content()
    assert view.locator(".live").count() == 0
