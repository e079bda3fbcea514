"""The page of a service, without a browser: what it is made of, and what it is told."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import page_files
import page_models
import pytest
from starlette.testclient import TestClient

import fastlstm.serving

FILES = {path.name: path.read_text(encoding="utf-8") for path in files(fastlstm.serving).joinpath("page").iterdir()}
STATIC = "/page/static/"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("page")


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[TestClient]:
    with TestClient(fastlstm.serving.app(page_models.make(folder), poll_seconds=None)) as found:
        yield found


def told(client: TestClient, name: str) -> dict[str, Any]:
    found = client.get(f"/page/models/{name}/versions/1")
    assert found.status_code == 200, found.text
    return found.json()


# -- its files ---------------------------------------------------------------------------------------------------------------


def test_everything_that_it_names_is_there(client: TestClient) -> None:
    index = client.get("/")
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    named = set(re.findall(r'(?:href|src)="(page/static/[^"]+)"', index.text))
    assert {Path(path).name for path in named} == {"icon.svg", "style.css", "script.js"}
    modules = {f"page/static/{name}" for text in FILES.values() for name in re.findall(r'from "\./([^"]+)"', text)}
    assert len(modules) > 5
    for path in named | modules:
        found = client.get("/" + path)
        assert found.status_code == 200
        assert found.text == FILES[Path(path).name]
    assert {Path(path).name for path in named | modules} | {"index.html"} == set(FILES)  # and nothing else stands there


def test_it_comes_with_a_strict_policy(client: TestClient) -> None:
    policy = dict(part.split(" ", 1) for part in client.get("/").headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    for text in FILES.values():
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|<style|style=|\son\w+=\"", text)
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)  # nothing from elsewhere


def test_a_file_that_is_known_is_not_sent_again(client: TestClient) -> None:
    first = client.get(STATIC + "style.css")
    again = client.get(STATIC + "style.css", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(STATIC + "style.css", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("path", ["nothing.js", "..%2fpage.py", "%2e%2e/page.py", "..%5cpage.py", "style.css%00", "../options.py"])
def test_no_other_file_is_reached(client: TestClient, path: str) -> None:
    found = client.get(STATIC + path)
    assert found.status_code == 404
    assert "import" not in found.text


def test_a_service_may_have_none(model: Path) -> None:
    with TestClient(fastlstm.serving.app({"m": model}, page=False)) as client:
        assert [client.get(path).status_code for path in ("/", "/page/models", STATIC + "script.js")] == [404] * 3


def test_a_token_is_asked_for_what_tells_of_models(model: Path) -> None:
    with TestClient(fastlstm.serving.app({"m": model}, token="secret")) as client:
        assert [client.get(path).status_code for path in ("/", STATIC + "script.js", STATIC + "style.css")] == [200] * 3
        told = ["/page/models", "/page/models/m/versions/1", "/page/models/m/versions/1/layers.svg"]
        assert [client.get(path).status_code for path in told] == [401] * 3
        assert [client.get(path, headers={"Authorization": "Bearer secret"}).status_code for path in told] == [200] * 3


def test_it_is_found_where_it_is_mounted(model: Path) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    with TestClient(Starlette(routes=[Mount("/models", fastlstm.serving.app({"m": model}))])) as client:
        index = client.get("/models/")
        assert not re.search(r'(?:href|src)="/', index.text)  # all is relative to the page
        assert client.get("/models/page/models").json()["models"][0]["name"] == "m"


# -- what it is told ---------------------------------------------------------------------------------------------------------


def test_it_lists_what_is_served(client: TestClient) -> None:
    found = client.get("/page/models").json()
    assert found["service"] == f"fastlstm {fastlstm.__version__}"
    assert found["ready"] is True
    assert {"name": "values", "versions": [{"version": 1, "state": "AVAILABLE", "message": ""}]} in found["models"]


def test_what_is_asked_for_must_be_served(client: TestClient) -> None:
    for path in ("/page/models/none/versions/1", "/page/models/values/versions/7", "/page/models/none/versions/1/layers.svg"):
        found = client.get(path)
        assert found.status_code == 404
        assert "error" in found.json()


@pytest.mark.parametrize("version", ["9" * 5000, "x", "-1", "1.0"])
def test_versions_are_whole_numbers(client: TestClient, version: str) -> None:
    answer = client.get(f"/page/models/values/versions/{version}")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("version: expected a whole number from 0 on, found ")


@pytest.mark.parametrize(
    ("name", "kinds", "streams"),
    [
        ("values", ["sequence"], True), ("classes", ["sequence"], True), ("pair", ["sequence", "numbers"], True), ("rhyme", ["ids"], True),
        ("sentences", ["texts"], False), ("labelled", ["texts"], False), ("bidirectional", ["sequence"], False),
        ("sunspots", ["sequence"], True),
    ],
)  # fmt: skip
def test_forms_suit_inputs(client: TestClient, name: str, kinds: list[str], streams: bool) -> None:
    found = told(client, name)
    assert [one["kind"] for one in found["inputs"]] == kinds
    assert found["streams"] is streams
    assert bool(found["why"]) is not streams


@pytest.mark.parametrize(("options", "streams"), [({}, False), ({"max_steps": 10}, True)])
def test_what_remembers_timesteps_streams_with_a_limit(tmp_path: Path, options: dict[str, int], streams: bool) -> None:
    page_files.attention(tmp_path / "attention.h5")
    with TestClient(fastlstm.serving.app({"m": tmp_path / "attention.h5"}, **options)) as client:
        found = told(client, "m")
    assert found["streams"] is streams
    assert ("--max-steps" in found["why"]) is not streams


def test_no_path_is_told(client: TestClient, folder: Path) -> None:
    for one in client.get("/page/models").json()["models"]:
        assert str(folder) not in client.get(f"/page/models/{one['name']}/versions/1").text
    assert "(Bidirectional)" in told(client, "bidirectional")["why"]


def test_no_path_is_told_by_sockets(client: TestClient, folder: Path) -> None:
    """Nor where a stream is asked for that there cannot be: the page and the protocol say the same."""
    for name in ("bidirectional", "labelled", "sentences"):
        with client.websocket_connect(f"/v1/models/{name}/stream") as socket:
            found = socket.receive_json()["error"]
        assert str(folder) not in found
        assert "stream(" not in found  # no advice in Python
        assert found == told(client, name)["why"]


def test_answers_are_told_apart(client: TestClient) -> None:
    assert told(client, "classes")["outputs"][0]["activation"] == "softmax"
    labels, probabilities = told(client, "labelled")["outputs"]
    assert (labels["labels"], probabilities["labels"]) == (None, ["bad", "good"])
    assert [one["activation"] for one in told(client, "pair")["outputs"]] == ["sigmoid", "linear"]


def test_a_pipeline_tells_where_its_numbers_lie(client: TestClient) -> None:
    found = told(client, "sunspots")
    (given,) = found["inputs"]
    assert given["steps"] == 132
    assert given["range"] == pytest.approx([0, 225])
    assert found["continues"] is True
    assert told(client, "values")["continues"] is False
    assert told(client, "values")["inputs"][0]["range"] is None


def test_layers_are_listed_and_drawn(client: TestClient) -> None:
    assert [layer["class"] for layer in told(client, "values")["layers"]] == ["InputLayer", "LSTM", "Dense"]
    picture = client.get("/page/models/values/versions/1/layers.svg")
    assert picture.headers["content-type"].startswith("image/svg+xml")
    (style,) = re.findall(r"<style>(.*?)</style>", picture.text)
    told_style = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{told_style}'" in picture.headers["content-security-policy"]
    assert "style=" not in picture.text


def test_a_version_that_broke_is_told(tmp_path: Path) -> None:
    versions = tmp_path / "m"
    for number in (1, 2):
        (versions / str(number)).mkdir(parents=True)
        page_files.recurrent(versions / str(number) / "model.h5")
    (versions / "2" / "model.h5").write_bytes(b"damaged")
    with TestClient(fastlstm.serving.app(folder=tmp_path, poll_seconds=None)) as client:
        (found,) = client.get("/page/models").json()["models"]
        assert {one["version"]: one["state"] for one in found["versions"]} == {1: "AVAILABLE", 2: "END"}
        (broken,) = (one for one in found["versions"] if one["version"] == 2)
        assert broken["message"]
        assert str(tmp_path) not in broken["message"]


# -- how it looks ------------------------------------------------------------------------------------------------------------


def palettes() -> dict[str, dict[str, str]]:
    """The named colours, light and dark."""
    light, dark = re.findall(r":root \{(.*?)\}", FILES["style.css"], re.DOTALL)
    found = {"light": dict(re.findall(r"--([\w-]+): (#\w{6});", light))}
    found["dark"] = {**found["light"], **dict(re.findall(r"--([\w-]+): (#\w{6});", dark))}
    return found


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_are_told_apart(scheme: str) -> None:
    """Text at 4.5, edges of fields and curves at 3: WCAG AA."""
    colours = palettes()[scheme]
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    for text in ("ink", "muted", "accent", "bad", "wait", "good"):
        for ground in ("paper", "card", "pad"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
    assert contrast(colours["ink"], colours["bad-tint"]) >= 4.5
    assert contrast(colours["ink"], colours["tint"]) >= 4.5
    for line in ("edge", *(f"s{number}" for number in range(8))):
        for ground in ("card", "pad"):
            assert contrast(colours[line], colours[ground]) >= 3, (line, ground)


def test_a_model_too_large_to_draw_is_told_so(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastlstm.drawing import graph

    monkeypatch.setattr(graph, "MOST_BOXES", 1)
    found = client.get("/page/models/bidirectional/versions/1/layers.svg")
    assert found.status_code == 400
    assert "layers" in found.json()["error"]
