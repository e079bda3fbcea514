"""Sequences of ids, and of classes: as rectangular arrays."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from .arguments import chosen, reading, told, whole

#: Euler's constant as Keras rounds it.
GAMMA = 0.577
#: Below it Keras draws the seed of ``skipgrams``.
SEEDS = 10_000_000


def pad_sequences(
    sequences: Any, maxlen: int | None = None, dtype: Any = "int32", padding: str = "pre", truncating: str = "pre", value: Any = 0.0
) -> np.ndarray:  # fmt: skip
    """Make one array of sequences of different lengths, as ``keras.utils.pad_sequences`` does.

    Parameters
    ----------
    sequences
        A list of sequences (lists or arrays), whose entries have one shape.
    maxlen
        The number of timesteps of the result; None: that of the longest sequence.
    dtype
        Of the result; entries are cast to it. ``object`` takes strings of any length.
    padding
        "pre" or "post": where values are added to short sequences.
    truncating
        "pre" or "post": where values are taken from long ones.
    value
        What is added.

    Returns
    -------
    numpy.ndarray
        (len(sequences), maxlen, ...)

    Raises
    ------
    InputError
        Where Keras raises: an argument is none of these, or the entries differ in shape.

    Examples
    --------
    >>> fastlstm.preprocessing.pad_sequences([[1], [2, 3], [4, 5, 6]], maxlen=2)
    array([[0, 1],
           [2, 3],
           [5, 6]], dtype=int32)
    """
    if not hasattr(sequences, "__len__"):
        raise InputError(f"sequences: expected a list of sequences, found {told(sequences)}")
    with reading("sequences", "a list of sequences"):
        rows = list(sequences)
        lengths = [len(row) for row in rows]
    with reading("maxlen", "a number of timesteps, or sequences that have some"):
        longest = max(lengths) if maxlen is None else maxlen
    with reading("dtype", "a dtype of NumPy"):
        text = np.issubdtype(dtype, np.str_) or np.issubdtype(dtype, np.bytes_)
    if isinstance(value, str) and dtype is not object and not text:
        raise InputError(f"value: expected a number for dtype {dtype}, found {value!r}; dtype=object takes strings of any length")
    filled = next((row for row, length in zip(rows, lengths, strict=True) if length), ())
    with reading("sequences", f"entries of one shape, which dtype {dtype} and {longest} timesteps hold"):
        shape = np.asarray(filled).shape[1:]
        padded = np.full((len(rows), longest, *shape), value, dtype)
        for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            if length:
                place(padded[number], row, chosen(padding, "padding", ("pre", "post")), chosen(truncating, "truncating", ("pre", "post")))
    return padded


def place(target: np.ndarray, row: Any, padding: str, truncating: str) -> None:
    """Write a sequence into its row of the result."""
    most = len(target)
    kept = np.asarray(row[:most] if truncating == "post" else row[-most:], target.dtype)
    if kept.shape[1:] != target.shape[1:]:
        raise InputError(f"sequences: expected entries of one shape, found {target.shape[1:]} and {kept.shape[1:]}")
    if padding == "post":
        target[: len(kept)] = kept
    else:
        target[most - len(kept) :] = kept


def to_categorical(x: Any, num_classes: int | None = None, dtype: Any = None) -> np.ndarray:
    """Make one-hot rows of classes, as ``keras.utils.to_categorical`` does.

    Parameters
    ----------
    x
        Whole numbers from 0 to ``num_classes - 1``, of any shape; a last axis of size 1 is dropped.
    num_classes
        None, or 0: one more than the largest of ``x``.
    dtype
        Of the result. None: float64, as Keras 3 has it; Keras 2.1.6 to 2.15 give float32.

    Returns
    -------
    numpy.ndarray
        The shape of ``x``, and an axis of the classes.

    Raises
    ------
    InputError
        If ``x`` is no array of numbers, or has a class that does not exist.
    """
    with reading("x", "whole numbers from 0 to num_classes - 1"):
        classes = np.array(x, "int64")
        shape = classes.shape[:-1] if classes.ndim > 1 and classes.shape[-1] == 1 else classes.shape
        flat = classes.reshape(-1)
        size = num_classes or int(flat.max()) + 1
        rows = np.zeros((len(flat), size), np.float64 if dtype is None else dtype)
        rows[np.arange(len(flat)), flat] = 1
        return rows.reshape((*shape, size))


def make_sampling_table(size: int, sampling_factor: float = 1e-5) -> np.ndarray:
    """Probabilities of keeping the word of each rank, as Keras's ``make_sampling_table`` gives them for :func:`skipgrams`.

    Parameters
    ----------
    size
        The number of words.
    sampling_factor
        That of word2vec.

    Returns
    -------
    numpy.ndarray
        float64 (size,)
    """
    rank = np.arange(whole(size, "size"))
    rank[0] = 1
    expected = sampling_factor * (rank * (np.log(rank) + GAMMA) + 0.5 - 1.0 / (12.0 * rank))
    return np.minimum(1.0, expected / np.sqrt(expected))


def skipgrams(
    sequence: Sequence[int], vocabulary_size: int, window_size: int = 4, negative_samples: float = 1.0, shuffle: bool = True,
    categorical: bool = False, sampling_table: Any = None, seed: int | None = None,
) -> tuple[list[list[int]], list[Any]]:  # fmt: skip
    """Pairs of words that stand near each other, and pairs of chance, as Keras's ``skipgrams`` draws them with Python's ``random``.

    Parameters
    ----------
    sequence
        Ids of words; 0 is no word.
    vocabulary_size
        One more than the largest id.
    window_size
        Words on either side.
    negative_samples
        Pairs of chance for each real one.
    shuffle
        Shuffle the pairs.
    categorical
        Give labels as ``[0, 1]`` and ``[1, 0]``, not 1 and 0.
    sampling_table
        What :func:`make_sampling_table` gives.
    seed
        Of the shuffling; None: drawn.

    Returns
    -------
    couples, labels : list
    """
    with reading("sequence", f"ids that sampling_table has, and a vocabulary_size from 2 on (it is {told(vocabulary_size)})"):
        real, chance = ([0, 1], [1, 0]) if categorical else (1, 0)
        couples = []
        for place, word in enumerate(sequence):
            if not word or (sampling_table is not None and sampling_table[word] < random.random()):
                continue
            near = [*sequence[max(0, place - window_size) : place], *sequence[place + 1 : place + window_size + 1]]
            couples += [[word, other] for other in near if other]
        labels: list[Any] = [real] * len(couples)
        if negative_samples > 0:
            count = int(len(couples) * negative_samples)
            words = [word for word, _ in couples]
            random.shuffle(words)
            couples += [[words[number % len(words)], random.randint(1, vocabulary_size - 1)] for number in range(count)]
            labels += [chance] * count
        if shuffle:
            seed = random.randint(0, SEEDS) if seed is None else seed
            for drawn in (couples, labels):
                random.seed(seed)
                random.shuffle(drawn)
        return couples, labels
