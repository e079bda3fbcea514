"""The page of a service in a real browser: what people do with it, by mouse, by finger and by keys."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import page_models
import pytest
import services

import fastlstm
from fastlstm import demo

playwright_api = pytest.importorskip("playwright.sync_api", reason="needs what pip install 'fastlstm[service]' brings")
#: What Chromium is called, or where it is.
CHROMIUM = os.environ.get("FASTLSTM_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium, or FASTLSTM_CHROMIUM=path"),
]
TOKEN = "a-secret.that~nobody+knows=="
#: Those that a page may be on: a phone from 2012, and a screen.
NARROW, WIDE = {"width": 320, "height": 640}, {"width": 1360, "height": 1000}
#: The contrast of each text with what is behind it.
CONTRASTS = Path(__file__).with_name("contrasts.js").read_text(encoding="utf-8")

#: Whatever can be filled in, pressed or have the focus, and has no name.
NAMELESS = """() => [...document.querySelectorAll('input, select, textarea, button, a, [tabindex="0"], img, svg[role]')]
    .filter((node) => node.checkVisibility() && !node.labels?.length)
    .filter((node) => !node.getAttribute("aria-label") && !node.textContent.trim() && !node.hasAttribute("alt"))
    .map((node) => node.outerHTML)"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return page_models.make(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def running(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Running]:
    with services.service(tmp_path_factory.mktemp("running"), models) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright_api.sync_playwright() as playwright:
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


def answered(page: Any, words: str) -> None:
    """Wait until the answer has these words in it."""
    shown_in = "article.model:not([hidden]) pre[aria-label='Answer as JSON']"
    page.wait_for_function("([place, words]) => document.querySelector(place).textContent.includes(words)", arg=[shown_in, words])


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


# -- models are tried --------------------------------------------------------------------------------------------------------


def test_every_model_is_listed_with_its_layers(running: services.Running, opened: Callable[..., Any], models: dict[str, Path]) -> None:
    page = opened(running.url)
    page.wait_for_selector("#models a")
    assert page.locator("#models .name").all_text_contents() == list(models)
    for name in models:
        page.click(f"#models a:has(.name:text-is('{name}'))")
        view = shown(page, name)
        picture = view.locator(".picture img")
        picture.wait_for()
        assert page.wait_for_function("image => image.complete && image.naturalWidth > 100", arg=picture.element_handle())
        assert page.title() == f"{name} · fastlstm"
        view.locator("summary:has-text('As a table')").click()
        layers = view.locator("table.list tbody th").all_text_contents()
        model = fastlstm.load(models[name]) if models[name].suffix != ".fastlstm" else fastlstm.Pipeline.load(models[name]).model
        assert layers == [layer.name for layer in model.layers]


def test_what_is_there_at_first_is_answered(running: services.Running, opened: Callable[..., Any], models: dict[str, Path]) -> None:
    page = opened(running.url + "/#/values")
    view = shown(page, "values")
    settled(view, fastlstm.load(models["values"]))
    assert view.locator(".answers svg.plot path.curve").count() >= 1
    assert view.get_by_text("Press Predict").count() == 0


def test_a_curve_is_drawn_and_answered(running: services.Running, opened: Callable[..., Any], models: dict[str, Path]) -> None:
    page, model = opened(running.url + "/#/values"), fastlstm.load(models["values"])
    view = shown(page, "values")
    view.get_by_label("feature 1").first.check()
    pad = view.locator(".curve-editor svg.pad")
    before = np.asarray(sent(view)["instances"])
    stroke(page, pad)
    settled(view, model)
    after = np.asarray(sent(view)["instances"])
    assert after.shape == (1, 60, 3)
    np.testing.assert_array_equal(after[..., [0, 2]], before[..., [0, 2]])  # the other features stay
    drawn = after[0, :, 1]
    assert np.max(np.abs(np.diff(drawn))) < 0.25  # no timestep was left out between two places of the mouse
    assert drawn.max() > 0.6
    assert drawn.min() < -0.6
    assert view.locator(".answers svg.plot path.curve").count() == 1
    assert int(view.locator(".latency dd").nth(3).text_content()) >= 1
    assert re.fullmatch(r"[\d.]+ (µs|ms)", view.locator(".latency dd").nth(1).text_content())
    view.get_by_label("Timesteps").first.fill("7")
    view.get_by_label("Timesteps").first.press("Enter")
    page.wait_for_function("() => document.querySelector('article.model:not([hidden]) pre code').textContent.length < 600")
    assert np.asarray(sent(view)["instances"]).shape == (1, 7, 3)
    settled(view, model)


def test_a_finger_draws_too(running: services.Running, opened: Callable[..., Any], models: dict[str, Path]) -> None:
    page = opened(running.url + "/#/classes", has_touch=True, is_mobile=True, viewport=NARROW)
    view = shown(page, "classes")
    pad = view.locator(".curve-editor svg.pad")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 0.55, box["y"] + box["height"] * 0.2)
    settled(view, fastlstm.load(models["classes"]))
    assert sent(view)["instances"][0][5][0] == pytest.approx(0.68, abs=0.1)
    assert pad.evaluate("pad => getComputedStyle(pad).touchAction") == "none"  # else the finger scrolls


def test_numbers_are_typed(running: services.Running, opened: Callable[..., Any], models: dict[str, Path]) -> None:
    page, model = opened(running.url + "/#/values"), fastlstm.load(models["values"])
    view = shown(page, "values")
    view.get_by_role("radio", name="Type").check()
    area = view.get_by_label("Numbers")
    assert len(area.input_value().split("\n")) == 60  # what was drawn
    area.fill("1 2 3\n4, 5, 6\n\n7 8 9\n-1 0 1e-1")
    view.get_by_role("button", name="Predict").click()
    settled(view, model)
    assert sent(view) == {"instances": [[[1, 2, 3], [4, 5, 6]], [[7, 8, 9], [-1, 0, 0.1]]]}
    chosen = view.get_by_label("Row of 2")
    chosen.fill("2")
    chosen.press("Enter")
    assert "values" in view.locator(".answers svg.plot").get_attribute("aria-label")
    area.fill("[[[0.5, 0.5, 0.5]]]")
    settled(view, model)
    assert sent(view) == {"instances": [[[0.5, 0.5, 0.5]]]}


def test_errors_are_said(running: services.Running, opened: Callable[..., Any]) -> None:
    page = opened(running.url + "/#/values", expected="400")
    view = shown(page, "values")
    view.get_by_role("radio", name="Type").check()
    area, problem = view.get_by_label("Numbers"), view.locator("form .error")
    area.fill("1 2 x")
    assert problem.text_content().endswith("line 1: expected numbers, found “x”")
    assert area.get_attribute("aria-invalid") == "true"
    area.fill("1 2")
    assert "expected 3 numbers a line, found 2" in problem.text_content()
    area.fill("[[[1, 2]]]")  # whose shape only the service can judge
    page.wait_for_function("() => document.querySelector('article.model:not([hidden]) form .error').textContent.includes('3')")
    assert problem.get_attribute("role") == "alert"
    assert "model 'values'" in problem.text_content()
    area.fill("1 2 3")
    page.wait_for_function("() => document.querySelector('article.model:not([hidden]) form .error').textContent === ''")


def test_classes_are_bars(running: services.Running, opened: Callable[..., Any], models: dict[str, Path]) -> None:
    page, model = opened(running.url + "/#/classes"), fastlstm.load(models["classes"])
    view = shown(page, "classes")
    view.get_by_role("button", name="Predict").click()
    settled(view, model)
    (expected,) = model.predict(np.asarray(sent(view)["instances"], np.float32))
    shares = view.locator(".bars .bar").evaluate_all(
        "bars => bars.map(bar => bar.getBoundingClientRect().width / bar.parentElement.clientWidth)"
    )
    np.testing.assert_allclose(shares, expected, atol=0.02)
    assert view.locator(".bars .best th").text_content() == f"class {expected.argmax()}"


def test_several_inputs_and_outputs(running: services.Running, opened: Callable[..., Any], models: dict[str, Path]) -> None:
    page, model = opened(running.url + "/#/pair"), fastlstm.load(models["pair"])
    view = shown(page, "pair")
    assert view.locator("fieldset.input").count() == 2
    view.get_by_label("Numbers").last.fill("0.25 -0.5")
    stroke(page, view.locator(".curve-editor svg.pad"))
    view.get_by_role("button", name="Predict").click()
    page.wait_for_function("() => document.querySelectorAll('article.model:not([hidden]) .output').length === 2")
    page.wait_for_timeout(300)
    given = {name: np.asarray(rows, np.float32) for name, rows in sent(view)["inputs"].items()}
    np.testing.assert_array_equal(given["more"], [[0.25, -0.5]])
    found = numbers(view)
    for name, expected in zip(("one", "three x"), model.predict([given["x"], given["more"]])):
        np.testing.assert_allclose(found[name], expected, atol=1e-5)


def test_texts_become_labels(running: services.Running, opened: Callable[..., Any], models: dict[str, Path]) -> None:
    page, pipeline = opened(running.url + "/#/labelled"), fastlstm.Pipeline.load(models["labelled"])
    view = shown(page, "labelled")
    texts = ["the film was great!", "it's 'boring' and bad"]
    view.get_by_label("Texts").fill("\n".join(texts))
    view.get_by_role("button", name="Predict").click()
    labels, probabilities = pipeline.predict(texts)
    page.wait_for_function(
        "() => document.querySelector('article.model:not([hidden]) pre[aria-label=\"Answer as JSON\"]').textContent.includes('labels')"
    )
    page.wait_for_timeout(300)
    assert sent(view) == {"instances": texts}
    found = numbers(view)
    assert found["labels"] == list(labels)
    np.testing.assert_allclose(found["probabilities"], probabilities, atol=1e-5)
    assert view.locator(".output .big").text_content() == labels[0]
    assert view.locator(".bars th").all_text_contents() == ["bad", "good"]
    command = view.locator("pre[aria-label='curl command']").text_content()
    view.get_by_role("button", name="Copy").click()
    view.get_by_text("Copied.").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == command


def test_ids_and_models_that_take_texts(running: services.Running, opened: Callable[..., Any], models: dict[str, Path]) -> None:
    page = opened(running.url + "/#/rhyme")
    view = shown(page, "rhyme")
    view.get_by_label("Numbers").fill("1 2 3")
    view.get_by_role("button", name="Predict").click()
    model = fastlstm.load(models["rhyme"])
    settled(view, model)
    probable = {f"class {number}" for number in model.predict(np.array([[1, 2, 3]]))[0].argmax(axis=-1)}
    assert probable <= set(view.locator(".legend li").all_text_contents())  # of 25 classes those that matter
    page.evaluate("location.hash = '#/sentences'")
    view = shown(page, "sentences")
    view.get_by_label("Texts").fill("what a film")
    view.get_by_role("button", name="Predict").click()
    view.locator(".output .big").wait_for()
    np.testing.assert_allclose(numbers(view), fastlstm.load(models["sentences"]).predict(np.array([["what a film"]])), atol=1e-5)


def test_a_forecast_goes_on_from_the_curve(running: services.Running, opened: Callable[..., Any], models: dict[str, Path]) -> None:
    page, pipeline = opened(running.url + "/#/sunspots"), fastlstm.Pipeline.load(models["sunspots"])
    view = shown(page, "sunspots")
    view.get_by_role("radio", name="Type").check()
    series = demo.read_series().sunspots[-132:]
    view.get_by_label("Numbers").fill(" ".join(map(str, series)))
    view.get_by_role("button", name="Predict").click()
    view.locator(".answers svg.plot").wait_for()
    page.wait_for_timeout(300)
    np.testing.assert_allclose(numbers(view), pipeline.predict(series), rtol=1e-4)
    view.get_by_role("radio", name="Draw").check()
    view.locator(".legend li").first.wait_for()
    assert view.locator(".legend li").all_text_contents() == ["what was drawn", "answer"]


# -- live --------------------------------------------------------------------------------------------------------------------


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


# -- the service -------------------------------------------------------------------------------------------------------------


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
