"""Vocabularies of lookup layers, from wherever a file has them, become arrays that a layer keeps as it keeps weights.

Text: ``vocabulary`` uint8, the bytes of all terms one after the other, and ``vocabulary_ends`` int64, where each ends. Whole numbers:
``vocabulary`` int64. Then ``idf_weights`` float32, a number for every id, where the layer gives tf_idf.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import FormatError, Problem
from ...kept_arrays import output_mode, reserved_ids
from .draft import LayerDraft
from .values import short

#: Arguments of configs that stand among the arrays from then on.
TAKEN = ("vocabulary", "idf_weights", "vocabulary_size", "has_input_vocabulary")


def given(draft: LayerDraft, terms: Sequence[bytes] | np.ndarray, idf: np.ndarray | None, path: str) -> None:
    """Give a lookup layer its vocabulary; its config no longer states any from then on.

    Parameters
    ----------
    draft
        A layer whose catalogue row has the role LOOKUP. Its config must be the canonical one.
    terms
        The terms in the order of their ids, without those for masked and unknown ones, which the config tells: bytes as the file has
        them, for text; whole numbers, for IntegerLookup.
    idf
        The weights of ``output_mode="tf_idf"``, else None: one for each id, or one for each term (the ids before those then weigh as
        much as the average term, as in Keras).
    path
        The file, for messages.

    Raises
    ------
    FormatError
        If a term is there twice or is none of the layer's kind, or the numbers of weights and terms differ.
    """
    found: tuple[np.ndarray, ...]
    if draft.row.terms == "int64":
        found = (_numbers(draft, terms, path),)
        count = len(found[0])
    else:
        texts = list(terms)
        if not all(isinstance(term, bytes) for term in texts):
            raise _error(draft, path, "its vocabulary holds something other than text")
        if len(set(texts)) < len(texts):
            raise _error(draft, path, f"its vocabulary has {short(_first_twice(texts))} twice")
        ends = np.cumsum([len(term) for term in texts], dtype=np.int64)
        found = (np.frombuffer(b"".join(texts), np.uint8), ends.reshape(-1))
        count = len(texts)
    if output_mode(draft.config) == "tf_idf":
        found = (*found, _idf(draft, count, idf, path))
    draft.weights = found
    for key in TAKEN:
        draft.config.pop(key, None)


def _numbers(draft: LayerDraft, terms: Any, path: str) -> np.ndarray:
    """The terms of IntegerLookup."""
    try:
        numbers = np.asarray(terms)
        whole = numbers.astype(np.int64)
    except (ValueError, TypeError, OverflowError) as error:
        raise _error(draft, path, f"its vocabulary holds something other than whole numbers ({error})") from error
    if numbers.ndim != 1 or (numbers.size and (numbers.dtype.kind not in "iu" or not np.array_equal(whole, numbers))):
        raise _error(draft, path, f"its vocabulary holds something other than whole numbers (dtype {numbers.dtype})")
    if len(np.unique(whole)) < len(whole):
        raise _error(draft, path, f"its vocabulary has {_first_twice(whole.tolist())} twice")
    return whole


def _idf(draft: LayerDraft, count: int, idf: np.ndarray | None, path: str) -> np.ndarray:
    """A weight for each id: the average in front of those of terms, zeros behind where the layer pads."""
    total = sum(reserved_ids(draft.config)) + count
    depth = draft.config.get("max_tokens") if draft.config.get("pad_to_max_tokens") else None
    found = np.empty(0) if idf is None else np.asarray(idf)
    if found.ndim != 1 or found.dtype.kind not in "fiu":
        raise _error(draft, path, "its idf_weights are no list of numbers")
    if len(found) == count < total and count:
        found = np.concatenate([np.full(total - count, np.average(found)), found])
    if isinstance(depth, int) and len(found) == total < depth:
        found = np.concatenate([found, np.zeros(depth - total)])
    if len(found) != (depth if isinstance(depth, int) else total):
        raise _error(draft, path, f"expected idf_weights for {count} terms ({total} ids), found {len(found)}")
    return found.astype(np.float32)


def _first_twice(terms: Sequence[Any]) -> Any:
    """The first term that was there before."""
    seen: set[Any] = set()
    return next(term for term in terms if term in seen or seen.add(term))


def _error(draft: LayerDraft, path: str, what: str) -> FormatError:
    return FormatError(f"{path}: layer {draft.path!r} ({draft.class_name}): {what}")


def missing(draft: LayerDraft) -> Problem:
    """The problem of a lookup layer without a vocabulary."""
    what = "it has no vocabulary: the model was saved before it had one, or in a format that leaves it out"
    return Problem(draft.path, draft.class_name, what, "adapt it (or pass vocabulary=) and save the model as .keras")
