"""These tests have a real browser open the page of a service: they need Chromium, and what Playwright brings."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import page_models
import pytest
import services
from browsing import WIDE

#: What Chromium is called, or where it is.
CHROMIUM = os.environ.get("FASTLSTM_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
#: What holds for every test of this folder.
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="needs what pip install 'fastlstm[service]' brings"),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium, or FASTLSTM_CHROMIUM=path"),
]


def pytest_itemcollected(item: pytest.Item) -> None:
    for mark in MARKS:
        item.add_marker(mark)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return page_models.make(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def running(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Running]:
    with services.service(tmp_path_factory.mktemp("running"), models) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright import sync_api

    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield found
        found.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages, and at the end looks whether any has complained: of errors, or of the policy on what it may load."""
    complaints: list[str] = []
    contexts = []

    def open_page(url: str, *, expected: str = "", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": WIDE, **options})
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)

        def complain(text: str) -> None:
            if not expected or not re.search(expected, text):
                complaints.append(text)

        page.on("console", lambda message: complain(f"{message.type}: {message.text}") if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complain(str(error)))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints
