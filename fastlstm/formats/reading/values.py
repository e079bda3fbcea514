"""The values that arguments and shapes of layers may have, in files of any format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Arguments that are sizes, and the largest that makes sense.
SIZES = ("units", "filters", "output_dim", "input_dim", "n", "num_heads", "key_dim")
LARGEST = 1 << 28
#: Arguments that are sizes along axes: one for all of them, or a list.
AXES = ("kernel_size", "strides", "dilation_rate", "pool_size", "size", "output_size")
#: ... and those that may be zero, nested in lists.
MARGINS = ("cropping",)
#: Arguments that are true or false (the numbers 0 and 1 count as these).
FLAGS = (
    "use_bias", "return_sequences", "return_state", "go_backwards", "stateful", "unroll", "reset_after", "mask_zero", "time_major",
    "zero_output_for_mask", "center", "normalize", "use_scale", "unit_forget_bias",
)  # fmt: skip
#: Arguments that are numbers.
NUMBERS = ("rate", "stddev", "dropout", "recurrent_dropout", "epsilon", "theta", "negative_slope", "momentum")
#: ... or text, where text is read.
NUMBER_OR_TEXT = ("mask_value",)
MOST_AXES = 8


def wrong_argument(config: Mapping[str, Any]) -> str:
    """Say what is wrong with a layer's sizes, flags and numbers; "" if nothing is."""
    for key in FLAGS:
        if config.get(key) is not None and config[key] not in (False, True):
            return expected(key, "true or false", config)
    for key in NUMBERS:
        if config.get(key) is not None and not isinstance(config[key], (int, float)):
            return expected(key, "a number", config)
    for key in NUMBER_OR_TEXT:
        if config.get(key) is not None and not isinstance(config[key], (int, float, str)):
            return expected(key, "a number", config)
    for key in SIZES:
        if config.get(key) is not None and not is_size(config[key], 1):
            return expected(key, f"a whole number from 1 to {LARGEST - 1}", config)
    for key in AXES:
        if config.get(key) is not None and not all(is_size(size, 1) for size in flat(config[key])):
            return expected(key, "whole numbers from 1", config)
    for key in MARGINS:
        if config.get(key) is not None and not all(is_size(size, 0) for size in flat(config[key])):
            return expected(key, "whole numbers from 0", config)
    target = config.get("target_shape")
    if target is not None and not all(size is None or is_size(size, -1) for size in flat(target)):
        return expected("target_shape", "sizes, one of them -1 at most", config)
    return ""


def wrong_shape(sizes: Any) -> str:
    """Say what is wrong with an input's shape, its batch first; "" if nothing is."""
    if not isinstance(sizes, (list, tuple)):
        return f"expected a list of sizes, found {short(sizes)}"
    if not 1 <= len(sizes) <= MOST_AXES:
        return f"a shape of {len(sizes)} dimensions: {short(list(sizes))}"
    if not all(size is None or is_size(size, 1) for size in sizes):
        return f"the shape {short(list(sizes))} has a size that is no whole number from 1 to {LARGEST - 1}"
    return ""


def is_size(value: Any, least: int) -> bool:
    """Whether a value is a whole number from ``least`` up to the largest that makes sense."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < LARGEST


def flat(value: Any) -> list[Any]:
    """The values in nested lists; a value that is no list counts as a list of one."""
    return [one for inner in value for one in flat(inner)] if isinstance(value, (list, tuple)) else [value]


def expected(key: str, what: str, config: Mapping[str, Any]) -> str:
    """A message about one argument."""
    return f"{key}: expected {what}, found {short(config[key])}"


def short(value: Any) -> str:
    """A repr of bounded length."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
