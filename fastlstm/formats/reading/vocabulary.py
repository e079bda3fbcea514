"""Names and values of every generation's layer configs, made canonical: Keras 3's names, activations by one name each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ... import catalogue
from ...activations import canonical
from ...catalogue import Role, row_of
from .dialect import Dialect

#: The activations of multi-backend Keras: others in its files are the user's own, whatever Keras calls so today.
EARLY_ACTIVATIONS = frozenset({
    "softmax", "elu", "selu", "softplus", "softsign", "relu", "tanh", "sigmoid", "exponential", "hard_sigmoid", "linear",
})  # fmt: skip

#: Keys without meaning at inference, which would only make specs bigger; ``name``, ``trainable`` and ``dtype`` are read elsewhere.
DROPPED = frozenset({
    "name", "trainable", "dtype", "batch_input_shape", "batch_shape", "input_shape", "input_dtype", "autocast", "registered_name",
    "module", "build_config", "compile_config", "build_input_shape", "split_gates",
})  # fmt: skip
DROPPED_ENDINGS = ("_initializer", "_regularizer", "_constraint")

DType = Literal["float32", "float64", "float16", "bfloat16"]
#: The dtype that a policy computes in.
POLICIES: dict[str, DType] = {
    "float32": "float32", "float64": "float64", "float16": "float16", "bfloat16": "bfloat16", "mixed_float16": "float16",
    "mixed_bfloat16": "bfloat16", "infer": "float32", "_infer": "float32",
    "string": "float32",  # of layers that read text
}  # fmt: skip
ID_DTYPES = ("int32", "int64", "int16", "int8", "uint8", "uint16")


def class_name(entry: Mapping[str, Any], dialect: Dialect) -> str:
    """The canonical class of a layer entry; a user's class that only shares its name with one of Keras is called "Custom>Name"."""
    name = str(entry["class_name"])
    own = users_own(entry)
    if own is not None:
        return own if ">" in own else f"Custom>{own}"
    if dialect.multi_backend and row_of(name).later:
        return f"Custom>{name}"
    name = name.rsplit(">", 1)[-1] if name.startswith(("Keras>", "keras>")) else name
    config = entry.get("config")
    if dialect.keras3 and isinstance(config, Mapping) and not records_itself(name, config):
        return f"{catalogue.OF_KERAS3}{name}"
    return catalogue.canonical(name)


def records_itself(name: str, config: Mapping[str, Any]) -> bool:
    """Whether Keras 3 wrote a layer, not an operation (keras.ops has an Add of its own): layers record if they are trainable.

    InputLayers, models of some versions and SpatialDropout do not, but share their names with no operation.
    """
    return "trainable" in config or not row_of(name).tells_trainable


def compute_dtype(kind: str, config: Mapping[str, Any], dialect: Dialect) -> DType | None:
    """The dtype that a layer of this config computes in; None if it is neither a float dtype nor a policy."""
    value = config.get("dtype")
    if isinstance(value, Mapping):
        inner = value.get("config")
        value = inner.get("name") if isinstance(inner, Mapping) else None
    # An Embedding of Keras 2.0.0 to 2.0.5 and all layers of TensorFlow 1 record the dtype of their first input, which may be ids.
    if value is None or (value in ID_DTYPES and (dialect.multi_backend or (row_of(kind).any_dtype and not dialect.keras3))):
        return "float32"
    if value in ID_DTYPES and row_of(kind).role in (Role.LOOKUP, Role.CATEGORIES):
        return "float32"  # what they give is said elsewhere: see ``categories``
    return POLICIES.get(value) if isinstance(value, str) else None


def layer_config(kind: str, config: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    """The canonical config of a layer of canonical class ``kind``, its wrapped layers excepted."""
    row = row_of(kind)
    out = {row.renamed.get(key, key): value for key, value in config.items() if says_something(key, value) and key not in row.ignored}
    for key, value in row.defaults.items():
        out.setdefault(key, value)
    if row.gated:
        out.setdefault("recurrent_activation", dialect.recurrent_activation)
    for key in ("activation", "recurrent_activation"):
        if key in out:
            out[key] = activation(out[key], dialect)
    return out


def says_something(key: str, value: Any) -> bool:
    """Whether an argument may matter at inference."""
    if key in DROPPED or key.endswith(DROPPED_ENDINGS):
        return False
    return value is not None or key not in ("quantization_config", "lora_rank")


def is_kerass(module: str) -> bool:
    """Whether a module, or the package of a registered name, is Keras's own."""
    return module.split(".")[0].lower() in ("keras", "tf_keras", "tensorflow", "builtins")


def users_own(entry: Mapping[str, Any]) -> str | None:
    """The name of a user's own class or function, as registered ("my_package>MyLayer") where it is; None for Keras's own."""
    name, module, registered = entry.get("class_name"), entry.get("module"), entry.get("registered_name")
    if name == "function":
        name = entry.get("config")
    for full in (registered, name):
        if isinstance(full, str) and ">" in full:
            return None if is_kerass(full.split(">")[0]) else full
    if isinstance(module, str) and module != "builtins":
        return None if is_kerass(module) else str(name)
    # Of what is not Keras's, Keras 3 leaves out the module but not this.
    return str(name) if "module" in entry and module is None and registered is not None else None


def activation(value: Any, dialect: Dialect) -> Any:
    """A canonical activation; one that Keras does not have is a name, or {"name": ..., "config": ...}, for ``custom_activations``."""
    if isinstance(value, str):
        if ">" in value and not is_kerass(value.split(">")[0]):
            return value  # "Custom>relu" is the user's relu
        if dialect.multi_backend and value.islower() and value not in EARLY_ACTIVATIONS:
            return f"Custom>{value}"
    own = users_own(value) if isinstance(value, Mapping) else None
    if own is not None:
        return named(own if ">" in own else f"Custom>{own}", value.get("config"))
    try:
        return canonical(value, dialect.keras3)
    except (ValueError, TypeError):
        return unknown(value)


def unknown(value: Any) -> Any:
    """A canonical form of an activation that Keras does not have and that no registered name of a user's tells."""
    if not isinstance(value, Mapping):
        return value
    kind, config = value.get("class_name"), value.get("config")
    if kind is None or kind == "__lambda__":  # of a function without a name, Keras 3 keeps the code and sometimes nothing else
        return "<lambda>"
    return named(str(config if kind == "function" else kind), config)


def named(name: str, config: Any) -> Any:
    """A user's activation by its name, with the parameters that it was made with."""
    kept = {key: value for key, value in config.items() if key not in DROPPED} if isinstance(config, Mapping) else {}
    return {"name": name, "config": kept} if kept else name
