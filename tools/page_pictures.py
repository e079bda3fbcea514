"""The pictures of docs/serving.md: the page of a service, in Chromium, on the demonstration's network.

    python tools/page_pictures.py [FOLDER]    writes serve.png and serve-live.png there; docs/_static if it is not given

It needs ``pip install 'fastlstm[service]'`` and Chromium.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from fastlstm import demo

STATIC = Path(__file__).parents[1] / "docs" / "_static"
SIZE = {"width": 1120, "height": 700}
CHROMIUM = os.environ.get("FASTLSTM_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


def stroke(page: Any, pad: Any, values: Any, seconds: float) -> None:
    """Draw values between 0 and 1 with the mouse, from the left to the right."""
    box = pad.bounding_box()
    for number, value in enumerate(values):
        x = box["x"] + box["width"] * (number + 0.5) / len(values)
        page.mouse.move(x, box["y"] + 10 + (box["height"] - 20) * (1 - value))
        if number == 0:
            page.mouse.down()
        page.wait_for_timeout(1000 * seconds / len(values))
    page.mouse.up()


def take(url: str, folder: Path) -> None:
    """Both pictures."""
    sunspots = demo.read_series().sunspots[-132 - 100 : -100] / 225  # a cycle
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto(url)
        page.wait_for_selector(".picture img")
        stroke(page, page.locator(".curve-editor svg.pad"), sunspots, 4)
        page.wait_for_timeout(500)
        page.mouse.move(0, 0)
        page.evaluate("document.activeElement.blur()")
        page.screenshot(path=folder / "serve.png")
        page = browser.new_page(viewport=SIZE, color_scheme="dark")
        page.goto(url)
        page.wait_for_selector(".picture img")
        page.locator(".live").scroll_into_view_if_needed()
        page.evaluate("window.scrollTo(0, document.querySelector('.live').getBoundingClientRect().top + scrollY - 70)")
        stroke(page, page.locator(".live svg.pad"), sunspots, 6.5)
        page.wait_for_timeout(300)
        page.screenshot(path=folder / "serve-live.png")
        browser.close()


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else STATIC
    command = [sys.executable, "-m", "fastlstm", "serve", "--demo", "--port", "0", "--access-log", "none"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            take(_url(process.stdout), folder)
        finally:
            process.terminate()


def _url(lines: Any) -> str:
    """Where the page is, of what the service says."""
    for line in lines:
        if line.startswith("the page:"):
            return str(line.split()[-1])
    raise SystemExit("the service has not started")


if __name__ == "__main__":
    main()
