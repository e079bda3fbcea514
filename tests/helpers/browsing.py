"""What people do with the page of a service in a browser, and what they see of its answers."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

#: Those that a page may be on: a phone from 2012, and a screen.
NARROW, WIDE = {"width": 320, "height": 640}, {"width": 1360, "height": 1000}


def shown(page: Any, name: str) -> Any:
    """What the page shows of a model, once it is shown."""
    page.wait_for_selector(f"article.model:not([hidden]) h2:text-is('{name}')")
    return page.locator("article.model:not([hidden])")


def sent(view: Any) -> Any:
    """What the command for curl sends."""
    command = view.locator("pre[aria-label='curl command']").text_content()
    (body,) = re.findall(r"-d '(.*?)' '", command, re.DOTALL)
    return json.loads(body.replace("'\\''", "'"))


def numbers(view: Any) -> Any:
    """The answer as the page shows it in numbers."""
    return json.loads(view.locator("pre[aria-label='Answer as JSON']").text_content())


def stroke(page: Any, pad: Any, wait: float = 0.0) -> None:
    """Draw a curve with the mouse, from the left to the right."""
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    for at in np.linspace(0.02, 0.999, 25):
        page.mouse.move(box["x"] + at * box["width"], box["y"] + box["height"] * (0.5 - 0.4 * np.sin(6 * at)))
        page.wait_for_timeout(wait)
    page.mouse.up()


def settled(view: Any, model: Any) -> None:
    """Wait until the answer is that to what is drawn, and look whether it is the model's."""
    for _ in range(100):
        view.page.wait_for_timeout(50)
        given = np.asarray(sent(view)["instances"], np.float32)
        found, expected = view.locator("pre[aria-label='Answer as JSON']").text_content(), model.predict(given)
        if found and np.shape(json.loads(found)) == expected.shape and np.allclose(json.loads(found), expected, atol=1e-5):
            return
    np.testing.assert_allclose(numbers(view), model.predict(given), atol=1e-5)
