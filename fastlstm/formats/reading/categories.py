"""Configs of layers that make categories, brought to one form: what each generation fills in by default stands in them explicitly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...catalogue import CATEGORY_ENCODING, DISCRETIZATION, Role
from ...errors import FormatError, Problem
from ...kept_arrays import output_mode
from .dialect import Dialect, version_numbers
from .draft import LayerDraft
from .values import is_size, short

#: What may give text another form, and how text may be split; else these are functions of the user's.
STANDARDIZE = ("lower", "strip_punctuation", "lower_and_strip_punctuation")
SPLIT = ("whitespace", "character")
MODES = ("int", "one_hot", "multi_hot", "count", "tf_idf")
INTEGERS, FLOATS = ("int32", "int64"), ("float32", "float64")
#: Arguments that are sizes, from the least that makes sense.
SIZES = {"num_bins": 1, "num_tokens": 1, "max_tokens": 1, "num_oov_indices": 0, "output_sequence_length": 1}
#: Boundaries are below; no float32 is larger.
LARGEST = 1e39
#: The most tokens that are joined.
WIDEST = 1000
#: What to do where a layer cannot be computed.
BEHIND = "begin behind it, in Python: fastlstm.load(..., inputs=[{!r}]), and give predict what this layer makes"


def settle_categories(draft: LayerDraft, config: Mapping[str, Any], dialect: Dialect, problems: list[Problem], path: str) -> None:
    """Bring the config of a layer that looks terms up or makes categories to the canonical form; note what is not computed of it.

    Parameters
    ----------
    draft
        The layer.
    config
        Its config as the file has it.
    dialect
        The Keras that wrote it.
    problems
        What cannot be computed is noted here.
    path
        The file, for messages.
    """
    found = draft.config

    def refuse(what: str) -> None:
        problems.append(Problem(draft.path, draft.class_name, what, BEHIND.format(draft.path)))

    for key, least in SIZES.items():
        given = key in found if key == "num_oov_indices" else found.get(key) is not None
        if given and not is_size(found[key], least):
            raise FormatError(f"{path}: layer {draft.path!r} ({draft.class_name}): {key}: expected a number, found {short(found[key])}")
    found["output_mode"] = mode = (
        output_mode(found) if draft.class_name != CATEGORY_ENCODING else output_mode({"output_mode": "multi_hot", **found})
    )
    if mode not in MODES:
        refuse(f"argument output_mode={short(mode)} is not computed")
        found["output_mode"] = mode = "int"
    for key in ("sparse", "ragged"):
        if found.pop(key, False):
            refuse(f"with {key}=True it gives a {key} tensor, which is not computed")
    if found.get("standardize") not in (None, *STANDARDIZE) or found.get("split") not in (None, *SPLIT):
        key = "split" if found.get("standardize") in (None, *STANDARDIZE) else "standardize"
        refuse(f"{key}={name_of(found[key])} is a function of the user's, whose code is not in the file")
        found[key] = None
    pairs(draft, refuse)
    found["output_dtype"] = output_dtype(draft, config, dialect, mode)
    version = version_numbers(dialect.generation.version)
    if draft.class_name in (CATEGORY_ENCODING, DISCRETIZATION) and dialect.keras3 and version < (3, 4):
        found["squeezes"] = False
    if mode == "multi_hot" and dialect.keras3 and (3, 4) <= version < (3, 6):
        found["lowest"] = True  # the largest of no ids at all is the lowest number
    if draft.class_name == DISCRETIZATION and dialect.keras3 and config.get("dtype") in INTEGERS:
        found["whole"] = True  # what it is given is cast to the dtype that it gives
    if draft.class_name == CATEGORY_ENCODING and not dialect.keras3:
        found["checked"] = True
    required(draft, refuse)


def name_of(value: Any) -> str:
    """The name of a function that a config holds."""
    inner = value.get("config", value) if isinstance(value, Mapping) else value
    return short(inner.get("name", inner) if isinstance(inner, Mapping) else inner)


def pairs(draft: LayerDraft, refuse: Any) -> None:
    """Lists in place of the single numbers that stand for them."""
    found = draft.config
    widths: Any = found.get("ngrams")
    salt: Any = found.get("salt")
    if is_size(widths, 1) and widths <= WIDEST:
        widths = list(range(1, widths + 1))
    if widths is not None and not (isinstance(widths, (list, tuple)) and widths and all(is_size(n, 1) and n <= WIDEST for n in widths)):
        refuse(f"argument ngrams={short(widths)} is not computed")
        widths = None
    if isinstance(salt, int):
        salt = [salt, salt]
    if salt is not None and not (isinstance(salt, (list, tuple)) and len(salt) == 2 and all(isinstance(part, int) for part in salt)):
        refuse(f"argument salt={short(salt)} is not computed")
        salt = None
    found.update({key: list(value) for key, value in (("ngrams", widths), ("salt", salt)) if value is not None})
    for key, value in (("ngrams", widths), ("salt", salt)):
        if value is None:
            found.pop(key, None)


def required(draft: LayerDraft, refuse: Any) -> None:
    """Refuse a layer that lacks what it cannot be without."""
    found = draft.config
    wanted = {CATEGORY_ENCODING: "num_tokens", DISCRETIZATION: "bin_boundaries"}.get(draft.class_name, "num_bins")
    if draft.row.role is Role.CATEGORIES and found.get(wanted) is None:
        refuse(f"the file does not state its {wanted}")
        found[wanted] = [] if wanted == "bin_boundaries" else 1
    bounds = found.get("bin_boundaries")
    if bounds is not None and not (
        isinstance(bounds, (list, tuple)) and all(isinstance(bound, (int, float)) and abs(bound) < LARGEST for bound in bounds)
    ):
        refuse(f"argument bin_boundaries={short(bounds)} is not computed")
        found["bin_boundaries"] = []
    if found.get("pad_to_max_tokens") and found.get("max_tokens") is None:
        found["pad_to_max_tokens"] = False
    tokens = [found[key] for key in ("mask_token", "oov_token") if found.get(key) is not None]
    if not all(isinstance(token, int if draft.row.terms == "int64" else str) for token in tokens):
        refuse(f"arguments mask_token={short(found.get('mask_token'))} and oov_token={short(found.get('oov_token'))} are not computed")
        found.update(mask_token=None, oov_token=None)


def is_boundary(value: Any) -> bool:
    """Whether a value is a number that float32 may hold."""
    return isinstance(value, (int, float)) and abs(value) < LARGEST


def output_dtype(draft: LayerDraft, config: Mapping[str, Any], dialect: Dialect, mode: str) -> str:
    """The dtype of what it gives."""
    named: Any = config.get("dtype")
    while isinstance(named, Mapping):
        named = named.get("config", named.get("name"))
        named = named.get("name") if isinstance(named, Mapping) and "name" in named else named
    if draft.row.role is Role.LOOKUP:
        if mode == "int" or (dialect.keras3 and mode != "tf_idf"):
            return "int64"
        return named if named == "float64" else "float32"
    if mode == "int":
        return named if named in INTEGERS else "int32" if draft.class_name == DISCRETIZATION and dialect.keras3 else "int64"
    return named if named in (*INTEGERS, *FLOATS) else "float32"
