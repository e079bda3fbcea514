"""The arrays that Keras keeps for a layer, in file order, by its canonical config; the rows of the catalogue say which layer has which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Weight(NamedTuple):
    """One array that Keras keeps for a layer."""

    name: str
    trainable: bool = True


#: The arrays of a layer of a class, by its canonical config.
Arrays = Callable[[Mapping[str, Any]], tuple[Weight, ...]]


def no_arrays(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """The arrays of a layer that keeps none, or whose children keep them."""
    return ()


def always(*names: str) -> Arrays:
    """The arrays of a layer that keeps the same ones whatever its config."""
    found = tuple(map(Weight, names))
    return lambda config: found


def with_bias(*names: str) -> Arrays:
    """The arrays of a layer that keeps a bias too, unless its config says otherwise."""
    kernels, every = tuple(map(Weight, names)), tuple(map(Weight, (*names, "bias")))
    return lambda config: every if config.get("use_bias", True) else kernels


def scaled(tell: Arrays) -> Arrays:
    """The arrays of a layer that Keras 3 may have quantised: the first holds whole numbers then, and one more the scale of them."""

    def arrays(config: Mapping[str, Any]) -> tuple[Weight, ...]:
        first, *others = tell(config)
        if config.get("quantization") is None:
            return (first, *others)
        return (first._replace(trainable=False), *others, Weight(f"{first.name}_scale", False))

    return arrays


def einsum_arrays(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Those of EinsumDense."""
    return (Weight("kernel"), Weight("bias")) if config.get("bias_axes") else (Weight("kernel"),)


def affine_arrays(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Scale and offset, where the config has them."""
    scale = (Weight("gamma"),) if config.get("scale", True) else ()
    return (*scale, Weight("beta")) if config.get("center", True) else scale


def batch_arrays(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Those of BatchNormalization: what training has made of the batches is not trainable."""
    return (*affine_arrays(config), Weight("moving_mean", False), Weight("moving_variance", False))


def spectral_arrays(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """That of SpectralNormalization, beside those of the layer inside."""
    return (Weight("vector_u", False),)


def statistics_arrays(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Those of Normalization, unless its config states them."""
    if config.get("mean") is not None:
        return ()
    return (Weight("mean", False), Weight("variance", False), Weight("count", False))


def attention_arrays(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Those of Attention."""
    scale = (Weight("scale"),) if config.get("use_scale") else ()
    return (*scale, Weight("concat_score_weight")) if config.get("score_mode", "dot") == "concat" else scale


def additive_arrays(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Those of AdditiveAttention."""
    return (Weight("scale"),) if config.get("use_scale", True) else ()


def heads_arrays(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Those of attention with several heads."""
    arrays = ("kernel", "bias") if config.get("use_bias", True) else ("kernel",)
    parts = ("query", "key", *(("gate",) if config.get("use_gate") else ()), "value", "attention_output")
    return tuple(Weight(f"{part}/{array}") for part in parts for array in arrays)


def highway_arrays(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Those of Highway."""
    kernels = (Weight("kernel"), Weight("carry_kernel"))
    return (*kernels, Weight("bias"), Weight("carry_bias")) if config.get("use_bias", True) else kernels


def vocabulary_arrays(config: Mapping[str, Any]) -> tuple[Weight, ...]:
    """Those of lookups in a file of arrays, which has no place for a vocabulary: see ``formats/reading/vocabularies.py``."""
    return (Weight("idf_weights", False),) if output_mode(config) == "tf_idf" else ()


def output_mode(config: Mapping[str, Any]) -> str:
    """The form in which a layer gives categories, by its name in Keras 3."""
    mode = config.get("output_mode", "int")
    return {"binary": "multi_hot", "tf-idf": "tf_idf"}.get(mode, mode) if isinstance(mode, str) else mode


def reserved_ids(config: Mapping[str, Any]) -> tuple[int, int]:
    """How many ids of a lookup come before those of its terms: for what is masked (where it gives ids), and for unknown terms."""
    masked = config.get("mask_token") is not None and output_mode(config) == "int"
    return int(masked), int(config.get("num_oov_indices", 1))
