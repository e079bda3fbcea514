"""What a Pipeline is made with: tokenizers and scalers, read by their public attributes, once."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import InputError
from .preprocessing.arguments import TOKENIZER_LINE, json_of, told
from .preprocessing.scaling import chosen_columns, scaler_of
from .preprocessing.text import FILTERS, Tokenizer, checked_settings, tokenizer_of
from .spec import MOST_ID, ModelSpec, Scaler, Words

#: What makes an output layer's outputs logits.
LINEAR = "linear"
TOKENIZERS = "a Tokenizer of Keras or of fastlstm.preprocessing, its to_json() or a path to that, or a dict of words and their ids"


def words_of(tokenizer: Any) -> Words:
    """The words of a tokenizer, however it is given."""
    name = "tokenizer"
    if isinstance(tokenizer, (str, bytes, os.PathLike)):
        tokenizer = json_of(tokenizer, name, TOKENIZER_LINE)
    if isinstance(tokenizer, Mapping) and set(tokenizer) == {"class_name", "config"} and isinstance(tokenizer["config"], Mapping):
        tokenizer = tokenizer_of(tokenizer["config"], name)
    if isinstance(tokenizer, Mapping):
        words: Mapping[Any, Any] = tokenizer
        settings: dict[str, Any] = {"filters": FILTERS, "num_words": None, "oov_token": None}
    else:
        words, settings = attributes_of(tokenizer)
    index: dict[str, int] = {}
    for word, number in words.items():
        if not isinstance(word, str) or isinstance(number, bool) or not isinstance(number, (int, np.integer)) or not 0 <= number <= MOST_ID:
            raise InputError(f"{name}: expected words and their ids, from 0 to {MOST_ID}, found {told(word)}: {told(number)}")
        index[word] = int(number)
    if not index:
        raise InputError(f"{name}: expected one that knows words, found one without; call its fit_on_texts first")
    if settings["oov_token"] is not None and settings["oov_token"] not in index:
        raise InputError(f"{name}: expected an id for its oov_token {settings['oov_token']!r} in word_index, found none")
    return Words(index=index, **settings)


def attributes_of(tokenizer: Any) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The words and the settings of an object that has Keras's attributes."""
    names = ("num_words", "filters", "lower", "split", "char_level", "oov_token")
    words = getattr(tokenizer, "word_index", None)
    if not isinstance(words, Mapping) or not callable(getattr(tokenizer, "texts_to_sequences", None)):
        raise InputError(f"tokenizer: expected {TOKENIZERS}, found {told(tokenizer)}")
    if getattr(tokenizer, "analyzer", None) is not None:
        raise InputError("tokenizer: expected one without an analyzer, which is code; cut texts into lists of words first")
    defaults = vars(Tokenizer())
    settings = checked_settings({name: getattr(tokenizer, name, defaults[name]) for name in names}, "tokenizer")
    if isinstance(settings["filters"], (list, tuple)):
        settings["filters"] = "".join(settings["filters"])
    return words, {**settings, "lower": bool(settings["lower"]), "char_level": bool(settings["char_level"])}


def inverse_of(inverse: Any, scaler: Scaler | None) -> Scaler | None:
    """What takes outputs back to the units of the data."""
    if inverse is None or inverse is False:
        return None
    names = isinstance(inverse, str) and scaler is not None and inverse in scaler.names
    columns = isinstance(inverse, (list, tuple)) and inverse and all(isinstance(one, (int, str, np.integer)) for one in inverse)
    by_column = names or (isinstance(inverse, (int, np.integer)) and inverse is not True) or (columns and of_scaler(inverse, scaler))
    if not by_column and inverse is not True:
        return scaler_of(inverse, "inverse")
    if scaler is None:
        raise InputError("inverse: expected a scaler too, or a scaler of its own, found none")
    return scaler if inverse is True else chosen_columns(scaler, copy.copy(inverse), "inverse")


def of_scaler(inverse: Any, scaler: Scaler | None) -> bool:
    """Are these columns of the scaler, and no functions?"""
    return all(not isinstance(one, str) or (scaler is not None and one in scaler.names) for one in inverse)


def ends_linear(spec: ModelSpec) -> bool:
    """Is the activation of the layer that makes the output linear?"""
    layer = spec.layers[spec.calls[spec.outputs[0].call].layer]
    while True:
        if layer.model is not None:
            return ends_linear(layer.model)
        if len(layer.children) != 1:
            return layer.config.get("activation") == LINEAR
        layer = layer.children[0]
