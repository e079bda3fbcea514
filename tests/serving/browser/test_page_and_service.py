"""The page of a service that asks for a token, gets new versions of a model, or has gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import services
from browsing import settled, shown

import fastlstm

TOKEN = "a-secret.that~nobody+knows=="


def test_a_token_is_asked_for(models: dict[str, Path], tmp_path: Path, opened: Callable[..., Any]) -> None:
    with services.service(tmp_path, {"values": models["values"]}, token=TOKEN) as running:
        page = opened(running.url, expected="401")
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Use it").click()
        page.get_by_text("The service does not take this token.").wait_for()
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Use it").click()
        view = shown(page, "values")
        assert not page.locator("#token").is_visible()
        view.get_by_role("button", name="Predict").click()
        settled(view, fastlstm.load(models["values"]))
        view.locator(".picture img").wait_for()
        view.locator(".live").get_by_role("button", name="One timestep").click()
        page.wait_for_function("() => document.querySelector('.answer-line').textContent.startsWith('timestep 1:')")
        command = view.locator("pre[aria-label='curl command']").text_content()
        assert '-H "Authorization: Bearer $TOKEN"' in command
        assert TOKEN not in page.content()
        assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
        page.reload()
        page.wait_for_selector("#token:not([hidden])")  # it was in the memory of the tab


def test_a_new_version_is_shown(models: dict[str, Path], tmp_path: Path, opened: Callable[..., Any]) -> None:
    folder = tmp_path / "models" / "m"
    (folder / "1").mkdir(parents=True)
    shutil.copy(models["values"], folder / "1" / "model.h5")
    with services.service(tmp_path, {"m": folder}, poll_seconds=0.2) as running:
        page = opened(running.url)
        shown(page, "m")
        assert page.locator("#models .versions").text_content() == "v1"
        put(models["classes"], folder / "2")
        look_until(page, "#models .versions", "v2")
        page.locator("article.model:not([hidden]) .facts:has-text('version 2')").wait_for()
        (tmp_path / "damaged.h5").write_bytes(b"damaged")
        put(tmp_path / "damaged.h5", folder / "3")
        look_until(page, "#models .badge", "ready, another version is broken")
        assert page.locator("#models .versions").text_content() == "v2"
        said = page.locator("article.model:not([hidden]) .about .error").text_content()
        assert said.startswith("version 3: ")
        assert str(tmp_path) not in said


def put(file: Path, version: Path) -> None:
    """Add a version that is whole when it appears."""
    beside = version.with_suffix(".new")
    beside.mkdir()
    shutil.copy(file, beside / "model.h5")
    beside.rename(version)


def look_until(page: Any, selector: str, words: str) -> None:
    """Have the page look at what is served, which else it does every few seconds, until something is so."""
    for _ in range(150):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.wait_for_timeout(100)
        if page.locator(selector).text_content() == words:
            return
    assert page.locator(selector).text_content() == words


def test_a_service_that_has_gone_is_said(models: dict[str, Path], tmp_path: Path, opened: Callable[..., Any]) -> None:
    with services.service(tmp_path, {"values": models["values"]}) as running:
        page = opened(running.url, expected="ERR_CONNECTION|WebSocket")
        view = shown(page, "values")
    view.get_by_role("button", name="Predict").click()
    view.get_by_text("the service does not answer").wait_for()
