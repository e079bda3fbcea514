"""Every page of docs/tutorials runs from top to bottom, and prints what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import page_files
import pytest
from layer_examples import tool

REPOSITORY = Path(__file__).parents[2]
TUTORIALS = REPOSITORY / "docs" / "tutorials"
#: Run by a test of its own, which looks closer: test_custom_page.py.
ELSEWHERE = {"custom-layers"}
PAGES = sorted(page for page in TUTORIALS.glob("*.md") if page.stem not in ELSEWHERE)
#: These draw, or start processes.
SLOW = {"forecasting", "files-from-strangers"}

pages = tool("run_page")


def parameters(names: list[Path], slow: set[str]) -> list[object]:
    return [pytest.param(page, id=page.stem, marks=[pytest.mark.slow] * (page.stem in slow)) for page in names]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", parameters(PAGES, SLOW))
def test_it_runs(page: Path, folder: Path) -> None:
    if "matplotlib" in page.read_text(encoding="utf-8"):
        pytest.importorskip("matplotlib", reason="the page draws")
    page_files.MAKE.get(page.stem, lambda _: None)(folder)
    pages.run(page)


WITH_KERAS = [page for page in PAGES if "<!-- keras -->" in page.read_text(encoding="utf-8")]


@pytest.mark.keras
@pytest.mark.slow
@pytest.mark.parametrize("page", parameters(WITH_KERAS, set()))
def test_it_runs_with_keras(page: Path, folder: Path) -> None:
    """What needs Keras, too: the models come from the page itself."""
    pytest.importorskip("keras", minversion="3")
    pages.run(page, keras=True)


def test_all_of_it_is_found() -> None:
    """No block is written so that the runner overlooks it, and no mark so that it means nothing."""
    for page in TUTORIALS.glob("*.md"):
        text, found = page.read_text(encoding="utf-8"), list(pages.blocks(page))
        assert len(found) == text.count("```") / 2, page.name
        for block in found:
            assert re.fullmatch(r"|keras|prints|file: [\w.]+|example: [\w.]+|engine: \w+", block.mark), (page.name, block.mark)
        assert "```python" in text, f"{page.name} shows nothing"


def test_a_wrong_page_fails(folder: Path) -> None:
    """The runner would notice."""
    page = folder / "page.md"
    page.write_text("```python\nprint(1 + 1)\n```\n\n<!-- prints -->\n```text\n3\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="line 6: expected\n3\n\nfound\n2"):
        pages.run(page)
    page.write_text("```sh\nfastlstm describe nothing.h5\n```\n", encoding="utf-8")
    with pytest.raises(AssertionError, match="ended with 1"):
        pages.run(page)


@pytest.mark.slow
def test_the_picture_is_what_the_page_draws(folder: Path) -> None:
    """The committed picture has the lines of the forecast that the page computes."""
    pytest.importorskip("matplotlib", reason="the page draws")
    page = TUTORIALS / "forecasting.md"
    names = pages.run(page)
    first, second = ((path.read_text(encoding="utf-8")) for path in (folder / "forecast.svg", TUTORIALS / "forecast.svg"))
    drawn, committed = (points(svg) for svg in (first, second))
    assert len(drawn) == len(committed) == 3
    for ours, theirs in zip(drawn, committed):
        assert len(ours) > 100
        np.testing.assert_allclose(ours, theirs, atol=0.5)  # points on the page; versions of matplotlib place axes a little differently
    assert names["forecast"].shape == (271, 12)


def points(svg: str) -> list[np.ndarray]:
    """The long lines of a picture, as places on it."""
    paths = re.findall(r'<path d="(M [^"]*)"', svg)
    lines = [
        np.array([[float(part) for part in step.split()] for step in re.split(r"[ML]", path)[1:]])
        for path in paths
        if not set("Qz") & set(path)
    ]
    return [line for line in lines if len(line) > 100]


@pytest.mark.slow
def test_the_processes_of_large_data(folder: Path) -> None:
    """The page's script gives what its loop gives."""
    page_files.MAKE["large-data"](folder)
    pages.run(TUTORIALS / "large-data.md")
    done = subprocess.run([sys.executable, "predict_all.py"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load("y2.npy"), np.load("y.npy"))


def test_a_model_that_reloads(folder: Path) -> None:
    """The class of the page on services: the new numbers after the file was replaced, the old ones where it was damaged."""
    import fastlstm

    page_files.recurrent(folder / "model.h5")
    (code,) = (block.code for block in pages.blocks(TUTORIALS / "service.md") if block.mark == "file: reloading.py")
    names: dict[str, object] = {}
    exec(code, names)
    models = names["Reloading"]("model.h5")  # type: ignore[operator]
    first = models.current()
    assert models.current() is first
    (folder / "model.h5").write_bytes(b"damaged")
    assert models.current() is first
    page_files.bidirectional(folder / "new.h5")
    fastlstm.convert("new.h5", "model.h5")
    second = models.current()
    assert second is not first
    assert second.output_shape == (None, 8)
