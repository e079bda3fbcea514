"""A model while it is being read; it becomes a spec once its weights are dealt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ...catalogue import ADDING, Row, row_of
from ...errors import Problem
from ...spec import Call, Generation, LayerSpec, ModelClass, ModelSpec, Ref, Rules
from .vocabulary import DType


@dataclass
class LayerDraft:
    """A layer; see :class:`fastlstm.spec.LayerSpec`."""

    class_name: str
    name: str
    config: dict[str, Any]
    path: str  # its name with those of the models around it: "outer/inner"
    saved_class: str = ""  # the class as the file has it
    dtype: DType = "float32"
    trainable: bool = True
    split_gates: bool = False  # Keras 1: three arrays a gate
    lora: float | None = None  # the factor of the product of two more arrays, which belongs to the first (Keras 3's enable_lora)
    quantised: str = ""  # how Keras 3 has quantised it
    penalties: dict[str, dict[str, Any]] = field(default_factory=dict)  # see ``penalties``
    told_inference: bool = False  # is any call of it one with training=False?
    children: list[LayerDraft] = field(default_factory=list)
    model: ModelDraft | None = None
    weights: tuple[np.ndarray, ...] = ()
    asset: bytes | None = None  # of a lookup: the file beside the config that holds its vocabulary
    has_vocabulary: bool = False  # do its arrays hold it by now?

    @property
    def row(self) -> Row:
        """The catalogue's row of its class."""
        return row_of(self.class_name)

    def freeze(self, generation: Generation, rules: Rules) -> LayerSpec:
        """The finished layer."""
        return LayerSpec(
            self.class_name,
            self.name,
            self.config,
            self.weights,
            tuple(child.freeze(generation, rules) for child in self.children),
            None if self.model is None else self.model.freeze(generation, rules),
            self.dtype,
            self.penalties,
        )


@dataclass
class ModelDraft:
    """A graph of layers; see :class:`fastlstm.spec.ModelSpec`."""

    name: str
    class_name: ModelClass
    layers: list[LayerDraft]
    calls: list[Call]
    inputs: list[Ref]
    outputs: list[Ref]
    input_names: list[str]
    output_names: list[str]
    output_kind: Literal["single", "list", "dict"] = "single"
    problems: list[Problem] = field(default_factory=list)
    input_keys: list[str] = field(default_factory=list)  # the names of the inputs, where the model takes them as a dict
    compiled: Mapping[str, Any] | None = None
    listed: list[str] = field(default_factory=list)  # the names of all layers in the config's order, also of those that nothing uses

    def freeze(self, generation: Generation, rules: Rules) -> ModelSpec:
        """The finished model."""
        return ModelSpec(
            self.name,
            self.class_name,
            tuple(layer.freeze(generation, rules) for layer in self.layers),
            tuple(self.calls),
            tuple(self.inputs),
            tuple(self.outputs),
            tuple(self.input_names),
            tuple(self.output_names),
            generation,
            rules,
            self.output_kind,
            tuple(self.problems),
            compiled=self.compiled,
            added=tuple(layer.name for layer in self.layers if layer.class_name in ADDING),
        )
