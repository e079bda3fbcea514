"""The header of a ``.fastlstm`` file is taken at its word or not at all: nothing is converted, left out or made up."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, Literal

import costly_files
import keras_configs
import numpy as np
import pytest
from layer_specs import model_of, recurrent, simple

import fastlstm
from fastlstm.errors import FormatError
from fastlstm.formats import own
from fastlstm.formats.strict import fits, told
from fastlstm.spec import LayerSpec

OTHERS = (None, True, 3, 2.5, "3", [], {}, ["x"], {"x": 1})
#: Where several types may stand, or what older files lack.
UNTOLD = {("rules", "nested_masks"), ("rules", "identity_masks")}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], bytes]:
    """The header of a small model, and the bytes after it."""
    inner = model_of(simple("Dense", {"units": 2}, [np.ones((3, 2)), np.ones(2)]), shape=(None, 3))
    both = LayerSpec("Bidirectional", "both", {}, (), (recurrent("GRU", 2, 2, "f"), recurrent("GRU", 2, 2, "b", go_backwards=True)))
    spec = model_of(LayerSpec("TimeDistributed", "t", {}, (), (LayerSpec("Sequential", "inner", {}, (), (), inner),)), both)
    path = tmp_path_factory.mktemp("strict") / "m.fastlstm"
    own.write(path, spec)
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    fastlstm.load(data)
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def loaded(parts: tuple[dict[str, Any], bytes], inner: Any) -> fastlstm.Model:
    """The model, with another spec in its header."""
    header, rest = parts
    text = json.dumps({**header, "__metadata__": {"fastlstm": json.dumps(inner)}}).encode()
    return fastlstm.load(len(text).to_bytes(8, "little") + text + rest)


def places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a model but what stands in configs, which layers check."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if key != "config":
            yield (*here, key)
            yield from places(inner, (*here, key))


def changed(value: Any, way: tuple[Any, ...], new: Any) -> Any:
    """A copy in which something else stands at a place."""
    whole = copy.deepcopy(value)
    inside = whole
    for key in way[:-1]:
        inside = inside[key]
    inside[way[-1]] = new
    return whole


def at(value: Any, way: tuple[Any, ...]) -> Any:
    for key in way:
        value = value[key]
    return value


def test_values_of_another_type(parts: tuple[dict[str, Any], bytes]) -> None:
    original = json.loads(parts[0]["__metadata__"]["fastlstm"])
    tried = 0
    for way in places({"model": original["model"]}):
        for other in OTHERS:
            if type(at(original, way)) is type(other) or (tuple(way[-2:]) in UNTOLD and other is None):
                continue
            tried += 1
            with pytest.raises(FormatError):
                loaded(parts, changed(original, way, other))
    assert tried > 500


def test_keys_that_are_missing_or_unknown(parts: tuple[dict[str, Any], bytes]) -> None:
    original = json.loads(parts[0]["__metadata__"]["fastlstm"])
    tried = 0
    for way in places({"model": original["model"]}):
        found = at(original, way)
        if not isinstance(found, dict) or way[-1] == "keywords":
            continue
        with pytest.raises(FormatError, match="colour not known"):
            loaded(parts, changed(original, way, {**found, "colour": 1}))
        for key in () if way[-1] == "rules" else found:  # older files lack newer rules
            tried += 1
            with pytest.raises(FormatError, match=f"{key} missing|expected"):
                loaded(parts, changed(original, way, {name: value for name, value in found.items() if name != key}))
    assert tried > 40
    without = dict(original["model"]["rules"])
    del without["blind_attention"]
    assert loaded(parts, changed(original, ("model", "rules"), without)).spec.rules.blind_attention == "mean"


def test_a_model_without_outputs(parts: tuple[dict[str, Any], bytes]) -> None:
    """Whatever reads it, and as a layer too."""
    inner = json.loads(parts[0]["__metadata__"]["fastlstm"])
    none = changed(changed(inner, ("model", "outputs"), []), ("model", "output_names"), [])
    with pytest.raises(FormatError, match="has no outputs"):
        loaded(parts, none)
    entrance = keras_configs.entrance("x", 3)
    model = keras_configs.functional([keras_configs.entrance("y", 3)], [["y", 0, 0]], {})
    nested = {"class_name": "Model", "name": "a", "config": {**model["config"], "name": "a"}, "inbound_nodes": [[["x", 0, 0, {}]]]}
    for outputs, layers in (({}, [entrance]), ([], [entrance]), ([["x", 0, 0]], [entrance, nested])):
        config = keras_configs.functional(layers, [["x", 0, 0]], outputs)
        with pytest.raises(FormatError, match="output_layers: expected at least one tensor"):
            fastlstm.load(costly_files.h5(config))


def test_fits() -> None:
    for value, hint in ((True, bool), (1, int), (1, float), (2.5, float), ("a", str), (None, None), (None, bool | None),
                        ("a", Literal["a"]), ([], list[int]), ([1, 2], list[int]), ([[]], list[list[str]])):  # fmt: skip
        assert fits(value, hint), (value, hint)
    for value, hint in ((1, bool), (True, int), (2.0, int), (float("nan"), float), (True, float), (b"a", str), (0, None), (0, bool | None),
                        ("b", Literal["a"]), (1, Literal[True]), ((1,), list[int]), ([1, "2"], list[int]), ("", list[str])):  # fmt: skip
        assert not fits(value, hint), (value, hint)
    assert told(bool | None) == "bool or None"
    assert told(list[str]) == "a list of str"
    assert told(Literal["a", "b"]) == "'a' or 'b'"
