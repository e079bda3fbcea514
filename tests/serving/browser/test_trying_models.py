"""What people try on the page of a service: they draw, type and write, by mouse and by finger, and look at the answers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import services
from browsing import NARROW, numbers, sent, settled, shown, stroke

import fastlstm
from fastlstm import demo


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
