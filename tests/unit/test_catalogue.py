"""The catalogue is whole, stands alone, and says what the layers do."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layer_examples import layer_table

import fastlstm
from fastlstm.catalogue import ALIASES, EARLY_NAMES, INPUT_LAYER, ROWS, MaskRule, Role, Row, canonical, row_of
from fastlstm.formats.reading.dialect import dialect
from fastlstm.layers import REGISTRY, Tensor
from fastlstm.program.contracts import recurrent as contracts
from fastlstm.spec import LayerSpec, Rules

PACKAGE = Path(fastlstm.__file__).parent
NAMES = {*ROWS, *ALIASES, *EARLY_NAMES}
#: Names of fastlstm's own: the layers that a class gives meaning to, and what a module offers.
OWN = {"CLASSES", "__all__"}
#: Classes that other modules name, by file.
NAMED = {
    # Classes of this package, by the modules that define them, which happen to have such names.
    "__init__.py": {"Model"},
    "layers/__init__.py": {"Network"},
    # Layers that are activations too, for the catalogue to read: kernels are compiled with this module and without the catalogue.
    "activations.py": {"Activation", "LeakyReLU", "ReLU", "ELU", "ThresholdedReLU", "Softmax"},
    # A type, which has to be written out.
    "spec.py": {"Sequential", "Functional"},
    # Keras 0's model, which its name alone tells, as it has no class_name; and what has become of merges by mode.
    "formats/reading/keras1.py": {"Graph", "Merge"},
    # Classes whose arrays or meaning changed while Keras 1 lasted.
    "formats/reading/keras1_arrays.py": {"Highway", "SReLU"},
}


def literals(node: ast.AST) -> Iterator[str]:
    """The strings in a piece of code, less those that an assignment to a name of OWN lists."""
    if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id in OWN for target in node.targets):
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for inner in ast.iter_child_nodes(node):
        yield from literals(inner)


def named(path: Path) -> set[str]:
    return NAMES.intersection(literals(ast.parse(path.read_text(encoding="utf-8"))))


def test_no_class_is_named_outside_the_catalogue() -> None:
    """The facts about classes stand in the catalogue alone, so that a new layer is one row and one class."""
    paths = [path for path in PACKAGE.rglob("*.py") if path.parent.name != "operations"]  # Keras 3's operations have such names too
    found = {path.relative_to(PACKAGE).as_posix(): named(path) for path in paths}
    assert found.pop("catalogue.py") >= {"LSTM", "GRU"}
    assert {name: classes for name, classes in found.items() if classes} == NAMED


def test_names_of_classes_are_seen(tmp_path: Path) -> None:
    """The rule itself: each of these lines but the last is found."""
    lines = ('if kind == "LSTM": pass', 'AXES = {"Conv1D": 1}', 'NAMES = ("GRU",)', 'CLASSES = ("LSTM",)')
    for line in lines:
        (tmp_path / "one.py").write_text(f"class A:\n    {line}\n")
        assert bool(named(tmp_path / "one.py")) == (line != lines[-1]), line


def test_classes_of_layers_have_rows() -> None:
    assert {name for name, row in ROWS.items() if row.computed} == set(REGISTRY)


def test_names_mean_one_class() -> None:
    counts = Counter([*ROWS, *(name for row in ROWS.values() for name in (*row.aliases, *row.early_names))])
    assert [name for name, count in counts.items() if count > 1] == []
    assert all(row.name == name and not row.name.endswith("{}") for name, row in ROWS.items())
    assert all(ROWS[row.becomes].computed for row in ROWS.values() if row.becomes)


def test_classes_that_are_not_known() -> None:
    row = row_of("Custom>LSTM")
    assert (row.computed, row.role, row.mask, row.gates) == (False, Role.OTHER, MaskRule.NONE, 0)
    assert canonical("Custom>LSTM") == row.name == "Custom>LSTM"


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.defaults or row.settings or row.renamed])
def test_arguments_of_rows_are_those_of_layers(name: str) -> None:
    row = ROWS[name]
    layer = REGISTRY[row.becomes or name]
    assert {*row.defaults, *row.settings, *row.renamed.values()} <= layer.HONOURED


def test_kernels_count_the_gates_of_the_rows() -> None:
    """The kernels are compiled without the catalogue, so their constants stand by themselves."""
    assert {row.gates for row in ROWS.values() if "LSTM" in row.name and row.computed} == {contracts.LSTM_GATES}
    assert ROWS["GRU"].gates == ROWS["GRUCell"].gates == contracts.GRU_GATES == sum(contracts.GRU_BEFORE_GATES)
    assert {ROWS["SimpleRNN"].gates or 1, ROWS["SimpleRNNCell"].gates or 1} == {contracts.SIMPLE_RNN_GATES}


# -- masks ----------------------------------------------------------------------------------------------------------------


TOOL = layer_table()
KERAS_3: Rules = replace(dialect("3.10.0", "tensorflow", {}, "").rules, softmax_reads_mask=False)
#: Layers whose masks no rule tells alone: those of models are made inside, cells have none, and what reads text or ids has none yet.
OTHERWISE = {Role.CELL, Role.STACK, Role.MODEL, Role.LOOKUP, Role.CATEGORIES}
SIMPLE = [
    row for row in ROWS.values()
    if row.name in TOOL.EXAMPLES and row.role not in OTHERWISE and row.mask is not MaskRule.INSIDE
]  # fmt: skip


def example(row: Row, settings: dict[str, Any]) -> LayerSpec:
    """A layer of a class, its config changed; a Bidirectional's layers have it instead."""
    layer = TOOL.layer_of(row.name, "layer")
    if row.role is Role.BIDIRECTIONAL:
        return replace(layer, children=tuple(replace(child, config={**child.config, **settings}) for child in layer.children))
    return replace(layer, config={**layer.config, **settings})


def outcome(row: Row, settings: dict[str, Any], masked: list[bool]) -> tuple[list[np.ndarray], list[Any], np.ndarray | None]:
    """Inputs and their masks, and the mask that a layer of a class makes of them."""
    inputs = TOOL.EXAMPLES[row.name].inputs
    model = replace(TOOL.chain(example(row, settings), inputs, TOOL.EXAMPLES[row.name].ids), rules=KERAS_3)
    network = TOOL.root(TOOL.with_arrays(model, row.name), TOOL.prepared(model, "example"))
    random = np.random.default_rng(1)
    arrays = [random.integers(0, 3, (2, *shape)).astype(np.float32) for shape in inputs]
    for array in arrays:
        array[:, 2] = 0  # a step that Masking marks as missing
    masks = [random.random(array.shape[:2]) < 0.6 if given else None for array, given in zip(arrays, masked, strict=True)]
    found = network.apply([Tensor(array, mask) for array, mask in zip(arrays, masks, strict=True)], {}, None)
    return arrays, masks, found[0].mask


def expected(row: Row, settings: dict[str, Any], arrays: list[np.ndarray], masks: list[Any]) -> np.ndarray | None:
    """The mask by the row's rule, where inputs are joined along their timesteps."""
    if row.mask is MaskRule.PASSES:
        return masks[0]
    if row.mask is MaskRule.SEQUENCES:
        return masks[0] if settings["return_sequences"] else None
    if row.mask is MaskRule.UNITES:
        return None if any(mask is None for mask in masks) else np.logical_or(*masks)
    if row.mask is MaskRule.JOINS:
        return np.concatenate([np.ones(x.shape[:2], bool) if mask is None else mask for x, mask in zip(arrays, masks, strict=True)], 1)
    if row.mask is MaskRule.OF_FEATURES:
        return np.any(arrays[0] != 0, axis=-1)
    return arrays[0] != 0 if row.mask is MaskRule.OF_IDS else None


@pytest.mark.parametrize("row", SIMPLE, ids=lambda row: row.name)
def test_layers_make_the_masks_of_their_rows(row: Row) -> None:
    """So that the readers, which leave out the masks that follow from a graph, and the layers that make them cannot differ."""
    variants: list[dict[str, Any]] = [{}]
    if row.mask is MaskRule.SEQUENCES:
        variants = [{"return_sequences": True}, {"return_sequences": False}]
    elif row.mask is MaskRule.JOINS:
        variants = [{"axis": 1}]
    elif row.mask is MaskRule.OF_IDS:
        variants = [{"mask_zero": True}]
    inputs = len(TOOL.EXAMPLES[row.name].inputs)
    for settings in variants:
        for masked in ([True] * inputs, [True] * (inputs - 1) + [False]):
            arrays, masks, found = outcome(row, settings, masked)
            wanted = expected(row, settings, arrays, masks)
            assert (found is None) == (wanted is None), (settings, masked)
            np.testing.assert_array_equal(found, wanted)


def test_what_has_no_rule_stands_apart() -> None:
    models = {name for name, row in ROWS.items() if row.role is Role.MODEL}
    assert {name for name, row in ROWS.items() if row.mask is MaskRule.INSIDE} == (models & set(REGISTRY)) | {"SpectralNormalization"}
    assert all(row.mask is MaskRule.NONE for row in ROWS.values() if row.role in OTHERWISE - {Role.MODEL})
    assert ROWS[INPUT_LAYER].role is Role.INPUT
