"""Vocabularies of lookup layers, from wherever a file has them, become arrays that a layer keeps as it keeps weights.

Text: ``vocabulary`` uint8, the bytes of all terms one after the other, and ``vocabulary_ends`` int64, where each ends. Whole numbers:
``vocabulary`` int64. Then ``idf_weights`` float32, a number for every id, where the layer gives tf_idf.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import FormatError, Problem
from ...kept_arrays import output_mode, reserved_ids
from .dialect import Dialect, version_numbers
from .draft import LayerDraft
from .values import short

#: Weights are below; no float32 is larger.
LARGEST = 1e39
#: Arguments of configs that stand among the arrays from then on.
TAKEN = ("vocabulary", "idf_weights", "vocabulary_size", "has_input_vocabulary")


def given(draft: LayerDraft, terms: Sequence[bytes] | Sequence[int] | np.ndarray, idf: np.ndarray | None, path: str) -> None:
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
    draft.weights, draft.has_vocabulary, draft.asset = found, True, None
    for key in TAKEN:
        draft.config.pop(key, None)


def _numbers(draft: LayerDraft, terms: Any, path: str) -> np.ndarray:
    """The terms of IntegerLookup."""
    listed = terms.tolist() if isinstance(terms, np.ndarray) else list(terms)
    if not all(isinstance(term, int) and -(1 << 63) <= term < 1 << 63 for term in listed):
        raise _error(draft, path, "its vocabulary holds something other than whole numbers of 64 bits")
    whole = np.array(listed, np.int64)
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
    return next(term for term, count in Counter(terms).items() if count > 1)


def _error(draft: LayerDraft, path: str, what: str) -> FormatError:
    return FormatError(f"{path}: layer {draft.path!r} ({draft.class_name}): {what}")


def complete(draft: LayerDraft, dialect: Dialect, path: str, problems: list[Problem]) -> None:
    """Give a lookup layer the vocabulary of its config, or of the file beside that; note where there is none.

    Its arrays so far are those that a file of arrays has for it: weights of ids, or nothing.
    """
    listed, idf = draft.config.get("vocabulary"), draft.config.get("idf_weights")
    if draft.weights:
        idf = draft.weights[0]
    if isinstance(listed, str):
        what = f"its vocabulary is in a file of its own, {short(listed)}, which is not read"
        problems.append(Problem(draft.path, draft.class_name, what, "pass Keras a list as vocabulary=, and save the model again"))
        listed = None
    elif isinstance(listed, (list, tuple)):
        pass
    elif listed is not None:
        raise _error(draft, path, f"expected a list as its vocabulary, found {short(listed)}")
    elif draft.asset is not None:
        listed = lines_of(draft, draft.asset, dialect, path)
    elif not (problems and problems[-1].layer == draft.path):
        what = "it has no vocabulary: the model was saved before it had one, or in a format that leaves it out"
        problems.append(Problem(draft.path, draft.class_name, what, "adapt it, or pass vocabulary=, and save the model as .keras"))
    terms = without_specials(draft, list(listed or ()))
    if isinstance(idf, (list, tuple)) and not all(isinstance(weight, (int, float)) and abs(weight) < LARGEST for weight in idf):
        raise _error(draft, path, "its idf_weights are no list of numbers")
    if not isinstance(idf, (list, tuple, np.ndarray, type(None))):
        raise _error(draft, path, f"expected a list as its idf_weights, found {short(idf)}")
    weights = None if idf is None else np.asarray(idf, np.float64)
    if listed is None and output_mode(draft.config) == "tf_idf":
        weights = np.zeros(sum(reserved_ids(draft.config)))
    given(draft, terms if draft.row.terms == "int64" else encoded(draft, terms, path), weights, path)


def lines_of(draft: LayerDraft, data: bytes, dialect: Dialect, path: str) -> list[Any]:
    """The terms in a file beside the config, one a line as the Keras of that file tells lines apart."""
    try:
        text = data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise _error(draft, path, "its vocabulary is not UTF-8 text") from error
    if dialect.keras3 and version_numbers(dialect.generation.version) >= (3, 14):
        lines = text.splitlines()
        while lines and not lines[-1]:
            lines.pop()
        terms = without_specials(draft, lines)
        if len(set(terms)) < len(terms):  # Keras cannot load it: terms with one of its many line ends in them have come apart
            lines = text.split("\n")
    else:
        lines = text.split("\n")
    if draft.row.terms != "int64":
        return lines
    try:
        return list(map(int, lines))
    except ValueError as error:
        raise _error(draft, path, f"its vocabulary holds something other than whole numbers ({error})") from error


def without_specials(draft: LayerDraft, terms: list[Any]) -> list[Any]:
    """A vocabulary without the tokens for what is masked and unknown, which may stand before its terms."""
    masked, unknown = reserved_ids(draft.config)
    oov = draft.config.get("oov_token", "[UNK]" if draft.row.terms == "string" else -1)
    specials = [draft.config.get("mask_token")] * masked + [oov] * unknown
    return terms[len(specials) :] if specials and terms[: len(specials)] == specials else terms


def encoded(draft: LayerDraft, terms: Sequence[Any], path: str) -> list[bytes]:
    """Text as bytes; NumPy, through which Keras passes a list, drops zeros at the end."""
    if not all(isinstance(term, str) for term in terms):
        raise _error(draft, path, "its vocabulary holds something other than text")
    try:
        return [term.rstrip("\0").encode() for term in terms]
    except UnicodeEncodeError as error:
        raise _error(draft, path, f"its vocabulary holds what is no text ({error.reason})") from error
