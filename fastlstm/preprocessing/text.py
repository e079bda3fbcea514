"""Texts as ids of words: Keras's Tokenizer, and the functions beside it."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InputError
from .arguments import TOKENIZER_LINE, as_json, chosen, json_of, mapping, parsed, reading, told, whole

#: The characters that separate words unless a caller says otherwise.
FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'
MODES = ("binary", "count", "tfidf", "freq")
#: The settings of a tokenizer, in the order of Keras's JSON; and the tables that its JSON holds as JSON.
SETTINGS = ("num_words", "filters", "lower", "split", "char_level", "oov_token", "document_count")
TABLES = ("word_counts", "word_docs", "index_docs", "index_word", "word_index")
Analyzer = Callable[[str], Sequence[str]]


def separated(filters: Any, split: Any) -> dict[int, Any]:
    """The table for ``str.translate`` that makes separators of characters."""
    with reading("filters", "a text or a list of characters"):
        return str.maketrans(dict.fromkeys(filters, split))


def words_of(text: Any, table: Mapping[int, Any], lower: bool, split: Any) -> list[str]:
    """The words of a text."""
    if not isinstance(text, str):
        raise InputError(f"text: expected a str, found {told(text)}")
    with reading("split", "a text that separates words"):
        return [word for word in (text.lower() if lower else text).translate(table).split(split) if word]


def text_to_word_sequence(input_text: str, filters: Any = FILTERS, lower: bool = True, split: str = " ") -> list[str]:
    """Cut a text into words, as Keras's ``text_to_word_sequence`` does.

    Parameters
    ----------
    input_text
        The text.
    filters
        Characters that become ``split``.
    lower
        Make it lower case first.
    split
        What separates words.

    Returns
    -------
    list of str

    Examples
    --------
    >>> fastlstm.preprocessing.text_to_word_sequence("It's fine, really!")
    ["it's", 'fine', 'really']
    """
    return words_of(input_text, separated(filters, split), lower, split)


def one_hot(input_text: str, n: int, filters: Any = FILTERS, lower: bool = True, split: str = " ") -> list[int]:
    """Ids from 1 to ``n - 1`` by Python's ``hash``, as Keras's ``one_hot``: others in each process unless PYTHONHASHSEED is set.

    Parameters
    ----------
    input_text, filters, lower, split
        As for :func:`text_to_word_sequence`.
    n
        One more than the largest id.

    Returns
    -------
    list of int
    """
    return hashing_trick(input_text, n, hash, filters, lower, split)


def hashing_trick(
    text: str, n: int, hash_function: str | Callable[[str], int] | None = None, filters: Any = FILTERS, lower: bool = True, split: str = " "
) -> list[int]:  # fmt: skip
    """Ids from 1 to ``n - 1`` by a hash of each word, as Keras's ``hashing_trick``.

    Parameters
    ----------
    text, filters, lower, split
        As for :func:`text_to_word_sequence`.
    n
        One more than the largest id.
    hash_function
        "md5", a function of a word that returns an int, or None: Python's ``hash``.

    Returns
    -------
    list of int

    Examples
    --------
    >>> fastlstm.preprocessing.hashing_trick("the film was fine", 100, "md5")
    [51, 59, 35, 31]
    """
    hashed: Any = hash if hash_function is None else of_md5 if hash_function == "md5" else hash_function
    with reading("n", "more than 1, and a hash_function of a word"):
        return [hashed(word) % (n - 1) + 1 for word in text_to_word_sequence(text, filters, lower, split)]


def of_md5(word: str) -> int:
    """The MD5 of a word as a number."""
    return int(hashlib.md5(word.encode(), usedforsecurity=False).hexdigest(), 16)


class Tokenizer:
    """Words and their ids, as Keras's Tokenizer keeps them: the most frequent word is 1; 0 is no word.

    Parameters
    ----------
    num_words
        Ids from it on are left out, or become that of ``oov_token``; None: all are used.
    filters, lower, split
        As for :func:`text_to_word_sequence`.
    char_level
        Every character is a word.
    oov_token
        The word that stands for unknown ones; it has the id 1. None: unknown words are left out.
    analyzer
        A function that cuts a text into words, in place of :func:`text_to_word_sequence`.
    document_count
        The texts seen so far.

    Attributes
    ----------
    word_index, index_word : dict
        The id of each word, and the word of each id.
    word_counts, word_docs, index_docs : dict
        How often each word was seen, and in how many texts it was, by word and by id.

    Examples
    --------
    >>> tokenizer = fastlstm.preprocessing.Tokenizer(oov_token="<OOV>")
    >>> tokenizer.fit_on_texts(["the film was fine", "the plot was not"])
    >>> tokenizer.texts_to_sequences(["The film was boring"])
    [[2, 4, 3, 1]]
    """

    def __init__(
        self, num_words: int | None = None, filters: Any = FILTERS, lower: bool = True, split: str = " ", char_level: bool = False,
        oov_token: str | None = None, analyzer: Analyzer | None = None, *, document_count: int = 0,
    ):  # fmt: skip
        self.num_words = num_words
        self.filters = filters
        self.lower = lower
        self.split = split
        self.char_level = char_level
        self.oov_token = oov_token
        self.analyzer = analyzer
        self.document_count = document_count
        self.word_counts: dict[str, int] = OrderedDict()
        self.word_docs: dict[str, int] = defaultdict(int)
        self.index_docs: dict[int, int] = defaultdict(int)
        self.word_index: dict[str, int] = {}
        self.index_word: dict[int, str] = {}

    # -- learning ---------------------------------------------------------------------------------------------------------

    def fit_on_texts(self, texts: Iterable[Any]) -> None:
        """Count the words of texts, and number all words seen so far.

        Parameters
        ----------
        texts
            Texts, or lists of words.
        """
        for words in self._words(texts):
            self.document_count += 1
            for word in words:
                self.word_counts[word] = self.word_counts.get(word, 0) + 1
            for word in dict.fromkeys(words):
                self.word_docs[word] = self.word_docs.get(word, 0) + 1
        known = [] if self.oov_token is None else [self.oov_token]
        known += sorted(self.word_counts, key=lambda word: -self.word_counts[word])
        self.word_index = {word: number for number, word in enumerate(known, start=1)}
        self.index_word = {number: word for word, number in self.word_index.items()}
        for word, count in self.word_docs.items():
            self.index_docs[self.word_index[word]] = count

    def fit_on_sequences(self, sequences: Sequence[Any]) -> None:
        """Count in how many sequences each id is, for the mode "tfidf" of :meth:`sequences_to_matrix`.

        Parameters
        ----------
        sequences
            Lists of ids.
        """
        self.document_count += len(sequences)
        for sequence in sequences:
            for number in set(sequence):
                self.index_docs[number] = self.index_docs.get(number, 0) + 1

    # -- texts and ids ----------------------------------------------------------------------------------------------------

    def texts_to_sequences(self, texts: Iterable[Any]) -> list[list[int]]:
        """The ids of the words of texts.

        Parameters
        ----------
        texts
            Texts, or lists of words.

        Returns
        -------
        list of list of int
        """
        return list(self.texts_to_sequences_generator(texts))

    def texts_to_sequences_generator(self, texts: Iterable[Any]) -> Iterator[list[int]]:
        """The same, one text after the other."""
        index, oov = self.word_index, self.word_index.get(self.oov_token) if self.oov_token is not None else None
        most = self.num_words or None
        for words in self._words(texts):
            found = []
            for word in words:
                number = index.get(word)
                if number is None:
                    if self.oov_token is not None:
                        found.append(oov)
                elif most is None or number < most:
                    found.append(number)
                elif oov is not None:
                    found.append(oov)
            yield found  # type: ignore[misc] # None where the oov_token has no id, as in Keras

    def sequences_to_texts(self, sequences: Iterable[Iterable[int]]) -> list[str]:
        """The texts of ids, with blanks between words.

        Parameters
        ----------
        sequences
            Lists of ids.

        Returns
        -------
        list of str
        """
        return list(self.sequences_to_texts_generator(sequences))

    def sequences_to_texts_generator(self, sequences: Iterable[Iterable[int]]) -> Iterator[str]:
        """The same, one sequence after the other."""
        oov = self.word_index.get(self.oov_token) if self.oov_token is not None else None
        for sequence in sequences:
            words = []
            for number in sequence:
                word = self.index_word.get(number)
                if word is not None and not (self.num_words and number >= self.num_words):
                    words.append(word)
                elif oov is not None:
                    words.append(self.index_word[oov])
            yield " ".join(words)

    def texts_to_matrix(self, texts: Iterable[Any], mode: str = "binary") -> np.ndarray:
        """A row of numbers for each text, a column for each id.

        Parameters
        ----------
        texts
            Texts, or lists of words.
        mode
            "binary", "count", "tfidf" or "freq".

        Returns
        -------
        numpy.ndarray
            float64 (texts, num_words)
        """
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode)

    def sequences_to_matrix(self, sequences: Sequence[Any], mode: str = "binary") -> np.ndarray:
        """The same of lists of ids.

        Raises
        ------
        InputError
            If ``mode`` is none of these, or the tokenizer has seen no texts.
        """
        chosen(mode, "mode", MODES)
        if not self.num_words and not self.word_index:
            raise InputError("num_words: expected the number of columns, or a tokenizer that was fitted on texts, found neither")
        if mode == "tfidf" and not self.document_count:
            raise InputError("mode: expected a tokenizer that was fitted on texts or sequences for 'tfidf', found one that was not")
        size = self.num_words or len(self.word_index) + 1
        matrix = np.zeros((len(sequences), size))
        with reading("sequences", f"lists of ids below {size}"):
            for row, sequence in zip(matrix, sequences, strict=True):
                for number, count in Counter(number for number in sequence if number < size).items():
                    row[number] = self._weight(mode, number, count, len(sequence))
        return matrix

    def _weight(self, mode: str, number: int, count: int, length: int) -> Any:
        """The number that stands for an id that a text of so many ids has so often."""
        if mode == "tfidf":
            return (1 + np.log(count)) * np.log(1 + self.document_count / (1 + self.index_docs.get(number, 0)))
        return {"binary": 1, "count": count, "freq": count / length}[mode]

    def _words(self, texts: Iterable[Any]) -> Iterator[Sequence[str]]:
        """The words of each text, as the settings say."""
        table = separated(self.filters, self.split)
        with reading("texts", "a list of texts"):
            rows = iter(texts)
        for text in rows:
            if not isinstance(text, (str, list)):
                raise InputError(f"texts: expected strings or lists of words, found {told(text)}")
            if isinstance(text, list):
                with reading("texts", "strings or lists of words"):
                    yield [word.lower() for word in text] if self.lower else text
            elif self.char_level:
                yield text.lower() if self.lower else text
            elif self.analyzer is not None:
                yield self.analyzer(text)
            else:
                yield words_of(text, table, self.lower, self.split)

    # -- as JSON ----------------------------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The settings, and the tables as JSON, as Keras writes them.

        Returns
        -------
        dict
        """
        settings = {name: getattr(self, name) for name in SETTINGS}
        return settings | {name: json.dumps(getattr(self, name)) for name in TABLES}

    def to_json(self, **kwargs: Any) -> str:
        """The tokenizer as JSON, as Keras writes it; :func:`tokenizer_from_json` reads it.

        Parameters
        ----------
        **kwargs
            For ``json.dumps``.

        Returns
        -------
        str
        """
        return as_json(self, **kwargs)


def tokenizer_from_json(json_string: str | bytes) -> Tokenizer:
    """The tokenizer that ``to_json`` of Keras's Tokenizer, or of :class:`Tokenizer`, wrote.

    Parameters
    ----------
    json_string
        The JSON. (A path is read too.)

    Returns
    -------
    Tokenizer

    Raises
    ------
    InputError
        If it is something else. A pickle is never read: the error shows the line that writes JSON.
    """
    if not isinstance(json_string, (str, bytes, bytearray, memoryview)) and not hasattr(json_string, "__fspath__"):
        raise InputError(f"json_string: expected JSON that to_json() wrote, found {told(json_string)}")
    given = mapping(json_of(json_string, "json_string", TOKENIZER_LINE), "json_string")
    return tokenizer_of(mapping(given.get("config"), "json_string: config"), "json_string")


def tokenizer_of(config: Mapping[str, Any], name: str) -> Tokenizer:
    """A tokenizer from what its ``get_config`` gave."""
    unknown = [key for key in config if key not in (*SETTINGS, *TABLES)]
    missing = [key for key in TABLES if key not in config]
    if unknown or missing:
        found = [*(f"the key {told(key)}" for key in unknown), *(f"no {key}" for key in missing)]
        raise InputError(f"{name}: expected what to_json() of a Tokenizer wrote, found {', '.join(found)}")
    tokenizer = Tokenizer(**checked_settings({key: value for key, value in config.items() if key in SETTINGS}, name))
    for key in TABLES:
        value = config[key]
        setattr(tokenizer, key, table_of(parsed(value, f"{name}: {key}") if isinstance(value, str) else value, key, name))
    return tokenizer


def checked_settings(settings: dict[str, Any], name: str) -> dict[str, Any]:
    """The settings of a tokenizer, if they have the types that they must have."""
    if settings.get("num_words") is not None:
        whole(settings["num_words"], f"{name}: num_words", 0)
    whole(settings.get("document_count", 0), f"{name}: document_count", 0)
    for key in ("lower", "char_level"):
        if not isinstance(settings.get(key, True), (bool, int)):
            raise InputError(f"{name}: {key}: expected true or false, found {told(settings[key])}")
    for key, or_none in (("filters", False), ("split", True), ("oov_token", True)):
        value = settings.get(key, "")
        if not (isinstance(value, str) or (or_none and value is None) or (key == "filters" and isinstance(value, list))):
            raise InputError(f"{name}: {key}: expected a text, found {told(value)}")
    return settings


def table_of(value: Any, key: str, name: str) -> dict[Any, Any]:
    """A table of a tokenizer: ids are numbers, though JSON has them as text."""
    place = f"{name}: {key}"
    table = mapping(value, place)
    with reading(place, "ids, which are whole numbers from 0 on"):
        found: dict[Any, Any] = {int(number) if key.startswith("index") else number: told_of for number, told_of in table.items()}
    for one in found.values():
        if key == "index_word":
            if not isinstance(one, str):
                raise InputError(f"{place}: expected words, found {told(one)}")
        else:
            whole(one, place, 0)
    return found
