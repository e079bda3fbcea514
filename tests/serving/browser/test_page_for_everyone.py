"""The page of a service by keys alone, on small screens, in the dark, for those who do not see it, and with names that mean harm."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import page_models
import pytest
import services
from browsing import NARROW, WIDE, sent, settled, shown

import fastlstm

#: The contrast of each text with what is behind it.
CONTRASTS = Path(__file__).with_name("contrasts.js").read_text(encoding="utf-8")

#: Whatever can be filled in, pressed or have the focus, and has no name.
NAMELESS = """() => [...document.querySelectorAll('input, select, textarea, button, a, [tabindex="0"], img, svg[role]')]
    .filter((node) => node.checkVisibility() && !node.labels?.length)
    .filter((node) => !node.getAttribute("aria-label") && !node.textContent.trim() && !node.hasAttribute("alt"))
    .map((node) => node.outerHTML)"""


# -- by keys, on small screens, in the dark ----------------------------------------------------------------------------------


def reach(page: Any, selector: str) -> None:
    """Press Tab until something has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"Tab does not reach {selector}")


def test_keys_do_everything(running: services.Running, opened: Callable[..., Any], models: dict[str, Path]) -> None:
    page, model = opened(running.url), fastlstm.load(models["classes"])
    page.wait_for_selector("#models a")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    reach(page, "#models a[href='#/classes']")
    page.keyboard.press("Enter")
    view = shown(page, "classes")
    page.wait_for_function("() => document.activeElement.tagName === 'H2'")
    reach(page, ".curve-editor svg.pad")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"  # one sees where one is
    page.keyboard.press("Home")
    for key in ("ArrowRight", "ArrowRight", "PageUp", "ArrowUp", "ArrowDown", "PageDown", "PageDown"):
        page.keyboard.press(key)
    pad = view.locator(".curve-editor svg.pad")
    assert pad.get_attribute("role") == "slider"
    assert pad.get_attribute("aria-valuetext").startswith("timestep 3 of 10: ")
    settled(view, model)
    given = sent(view)["instances"][0]
    assert float(pad.get_attribute("aria-valuenow")) == pytest.approx(given[2][0], abs=1e-3)
    reach(page, "button.first")
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.getElementById('said').textContent.startsWith('Answered in')")
    assert page.locator("#said").get_attribute("aria-live") == "polite"
    reach(page, "pre[aria-label='Answer as JSON'], details summary")
    page.keyboard.press("Enter")
    reach(page, ".live button.first")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => document.querySelector('article.model:not([hidden]) .live .answer-line').textContent.startsWith('timestep')"
    )
    page.keyboard.press("Enter")
    reach(page, ".picture")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_is_legible(running: services.Running, opened: Callable[..., Any], models: dict[str, Path], scheme: str) -> None:
    page = opened(running.url, color_scheme=scheme)
    for name in models:
        page.evaluate("name => (location.hash = `#/${name}`)", name)
        view = shown(page, name)
        view.get_by_role("button", name="Predict").click()
        view.locator(".output").first.wait_for()
        view.locator(".picture img").wait_for()
        for size in (WIDE, NARROW):
            page.set_viewport_size(size)
            assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]  # nobody has to scroll sideways
            found = page.evaluate(CONTRASTS)
            assert found["looked"] > 20
            assert not found["faint"], name
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", dark))) < 128) == (scheme == "dark")


def test_everything_has_a_name(running: services.Running, opened: Callable[..., Any], models: dict[str, Path]) -> None:
    """Whatever is filled in, pressed or has the focus says what it is to those who do not see it."""
    page = opened(running.url)
    for name in models:
        page.evaluate("name => (location.hash = `#/${name}`)", name)
        shown(page, name)
        nameless = page.evaluate(NAMELESS)
        assert nameless == []
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
        assert len(ids) == len(set(ids))


# -- harm --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hostile", "hostile-labels"])
def test_names_of_files_are_text(running: services.Running, opened: Callable[..., Any], name: str) -> None:
    page = opened(f"{running.url}/#/{name}")
    view = shown(page, name)
    view.get_by_role("button", name="Predict").click()
    view.locator(".output").first.wait_for()
    view.locator(".picture img").wait_for()
    assert page_models.HOSTILE in view.text_content()
    page.wait_for_timeout(300)
    assert page.evaluate("window.harmed") is None
    assert page.locator("img[src=x], [onerror], [onload]").count() == 0


def test_the_policy_stops_what_should_not_be(running: services.Running, opened: Callable[..., Any]) -> None:
    """It is not only said: the browser holds to it."""
    page = opened(running.url, expected="Content Security Policy|Trusted")
    page.wait_for_selector("#models a")
    refused = page.evaluate(
        """() => { try { document.body.insertAdjacentHTML("beforeend", "<b>x</b>"); return false; } catch { return true; } }"""
    )
    assert refused
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            try { script.textContent = "window.harmed = 1"; document.body.append(script); } catch {}
        }"""
    )
    assert page.evaluate("window.harmed") is None
