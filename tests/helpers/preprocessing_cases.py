"""Layers that make ids and vectors of text and numbers, and what they are tried on: for any Keras from TensorFlow 2.4 on.

Each case is one layer on one input. Nothing here imports fastlstm, or needs a newer Python than such a TensorFlow.
"""

import numpy as np

TEXTS = [
    "The cat sat on the mat.", "a DOG ran, far away", "", "  two  spaces\tand\na line ",
    "[UNK] cat's \u00c4rger na\u00efve STRASSE stra\u00dfe", "\u4f60\u597d \u4e16\u754c hello\u00a0there",
    "x_y-z (cat) \u201cdog\u201d", "I\u0307stanbul \u0130I \u01c5", "a\u0301e\u0301 \U0001f600 \ufeffsun\ufffd", "cat cat dog cat",
    "!!!", "ran\x0bsat\x0cmat\x1con\x85the",
]  # fmt: skip
WORDS = [["cat", "dog", ""], ["[UNK]", "Cat", "bird"], ["sun", "\u00c4rger", "cat cat"], ["dog", "", "dog"]]
VOCABULARY = ["cat", "dog", "the", "sat", "ran", "\u00c4rger", "\u4f60\u597d", "cats", "sun"]
LETTERS = ["a", "t", "c", " ", "\u00c4", "\u4f60", "\U0001f600", "e", "\ufffd"]
NUMBERS = [5, 12, 1138, 16777217, 16777216, 9007199254740993, -7]
IDS = [[5, 12, 7, 0], [16777217, 16777216, 16777218, -7], [9007199254740993, 9007199254740992, 1138, 1], [-1, -2, 5, 5]]
SMALL = [[0, 3, 3, 1], [4, 0, 2, 2], [1, 1, 1, 1], [4, 4, 0, 3]]
FLOATS = [[-1.5, 0.0, 0.5], [1.0, 2.999999, 3.0], [float("nan"), float("inf"), -0.0], [0.1, 0.30000001, 7.0]]
IDF = [0.5, 1.25, 0.75, 2.0, 0.1, 0.3, 1.0, 3.0, 0.25]

#: By the name of an input: its shape without the batch, its dtype, and rows of it.
INPUTS = {
    "sentences": ((1,), "string", [[text] for text in TEXTS]),
    "bare": ((), "string", TEXTS),
    "words": ((3,), "string", WORDS),
    "word": ((1,), "string", [[row[0]] for row in WORDS]),
    "ids": ((4,), "int64", IDS),
    "id": ((1,), "int64", [row[:1] for row in IDS]),
    "small": ((4,), "int64", SMALL),
    "little": ((1,), "int32", [row[:1] for row in SMALL]),
    "floats": ((3,), "float32", FLOATS),
    "number": ((1,), "float32", [row[:1] for row in FLOATS]),
}


def text(**arguments):
    """A TextVectorization."""
    return "TextVectorization", dict({"vocabulary": VOCABULARY}, **arguments)


def words(**arguments):
    """A StringLookup."""
    return "StringLookup", dict({"vocabulary": VOCABULARY}, **arguments)


def numbers(**arguments):
    """An IntegerLookup."""
    return "IntegerLookup", dict({"vocabulary": NUMBERS}, **arguments)


#: By name: the input, the class and its arguments.
CASES = {
    "text": ("sentences", *text()),
    "text_bare": ("bare", *text()),
    "text_length": ("sentences", *text(output_sequence_length=4)),
    "text_short": ("sentences", *text(output_sequence_length=1, standardize="lower")),
    "text_strip": ("sentences", *text(standardize="strip_punctuation")),
    "text_as_it_is": ("sentences", *text(standardize=None)),
    "text_bigrams": ("sentences", *text(ngrams=2, vocabulary=[*VOCABULARY, "the cat", "cat cat", "sat on"])),
    "text_trigrams": ("sentences", *text(ngrams=(3, 1), vocabulary=[*VOCABULARY, "cat cat dog", "the cat sat"], output_sequence_length=6)),
    "text_letters": ("sentences", *text(split="character", vocabulary=LETTERS)),
    "text_letter_pairs": ("sentences", *text(split="character", ngrams=2, vocabulary=[*LETTERS, "c a", "a t", "\u4f60 \u597d"])),
    "text_whole": ("words", *text(split=None, standardize=None)),
    "text_whole_lower": ("words", *text(split=None, output_sequence_length=2)),
    "text_whole_longer": ("words", *text(split=None, output_sequence_length=5, ngrams=2, vocabulary=[*VOCABULARY, "cat dog"])),
    "text_multi_hot": ("sentences", *text(output_mode="multi_hot")),
    "text_count": ("sentences", *text(output_mode="count", ngrams=2, vocabulary=[*VOCABULARY, "cat cat"])),
    "text_tf_idf": ("sentences", *text(output_mode="tf_idf", idf_weights=IDF)),
    "text_padded": ("sentences", *text(output_mode="count", pad_to_max_tokens=True, max_tokens=15)),
    "text_padded_tf_idf": ("sentences", *text(output_mode="tf_idf", idf_weights=IDF, pad_to_max_tokens=True, max_tokens=15)),
    "text_whole_multi_hot": ("words", *text(split=None, output_mode="multi_hot")),
    "text_specials": ("sentences", *text(vocabulary=["", "[UNK]", *VOCABULARY])),
    "words": ("words", *words()),
    "word": ("word", *words(num_oov_indices=1, mask_token="cat", vocabulary=VOCABULARY[1:])),
    "words_hashed": ("words", *words(num_oov_indices=4)),
    "words_masked": ("words", *words(mask_token="", num_oov_indices=2, oov_token="[UNK]")),
    "words_multi_hot": ("words", *words(output_mode="multi_hot")),
    "words_masked_count": ("words", *words(output_mode="count", mask_token="dog", vocabulary=["cat", "sun"])),
    "words_tf_idf": ("words", *words(output_mode="tf_idf", idf_weights=IDF)),
    "word_one_hot": ("word", *words(output_mode="one_hot")),
    "words_one_hot": ("words", *words(output_mode="one_hot")),
    "words_binary": ("words", *words(output_mode="binary", pad_to_max_tokens=True, max_tokens=12)),
    "words_salted": ("words", *words(num_oov_indices=5, salt=[7, 9])),
    "back_to_words": ("small", *words(invert=True)),
    "back_to_masked_words": ("small", *words(invert=True, mask_token="", oov_token="[WHAT]")),
    "numbers": ("ids", *numbers()),
    "numbers_hashed": ("ids", *numbers(num_oov_indices=3)),
    "numbers_masked": ("ids", *numbers(mask_token=0)),
    "numbers_multi_hot": ("ids", *numbers(output_mode="multi_hot")),
    "number_one_hot": ("id", *numbers(output_mode="one_hot")),
    "numbers_count": ("ids", *numbers(output_mode="count", mask_token=-7, vocabulary=NUMBERS[:-1])),
    "numbers_tf_idf": ("ids", *numbers(output_mode="tf_idf", idf_weights=IDF[:7])),
    "numbers_farm": ("ids", *numbers(num_oov_indices=3, oov_method="farmhash")),
    "numbers_salted": ("ids", *numbers(num_oov_indices=3, oov_method="farmhash", salt=[1, 2])),
    "back_to_numbers": ("small", *numbers(invert=True)),
    "back_to_masked_numbers": ("small", *numbers(invert=True, mask_token=0, oov_token=-3)),
    "encoded": ("small", "CategoryEncoding", {"num_tokens": 5}),
    "encoded_counts": ("small", "CategoryEncoding", {"num_tokens": 5, "output_mode": "count"}),
    "encoded_one_hot": ("little", "CategoryEncoding", {"num_tokens": 6, "output_mode": "one_hot"}),
    "encoded_one_hots": ("small", "CategoryEncoding", {"num_tokens": 6, "output_mode": "one_hot"}),
    "hashed_words": ("words", "Hashing", {"num_bins": 7}),
    "hashed_ids": ("ids", "Hashing", {"num_bins": 1000003}),
    "hashed_salted": ("ids", "Hashing", {"num_bins": 1000003, "salt": [133, 137]}),
    "hashed_salted_words": ("words", "Hashing", {"num_bins": 13, "salt": 5}),
    "hashed_masked": ("ids", "Hashing", {"num_bins": 10, "mask_value": 5}),
    "hashed_masked_words": ("words", "Hashing", {"num_bins": 10, "mask_value": ""}),
    "hashed_multi_hot": ("words", "Hashing", {"num_bins": 6, "output_mode": "multi_hot"}),
    "hashed_one_hot": ("id", "Hashing", {"num_bins": 6, "output_mode": "one_hot"}),
    "hashed_count": ("ids", "Hashing", {"num_bins": 6, "output_mode": "count", "mask_value": 5}),
    "bins": ("floats", "Discretization", {"bin_boundaries": [-1.0, 0.0, 0.3, 3.0]}),
    "bins_of_ids": ("small", "Discretization", {"bin_boundaries": [1.0, 2.5]}),
    "bins_one_hot": ("number", "Discretization", {"bin_boundaries": [-1.0, 0.0, 1.0], "output_mode": "one_hot"}),
    "bins_multi_hot": ("floats", "Discretization", {"bin_boundaries": [-1.0, 0.0, 1.0], "output_mode": "multi_hot"}),
    "bins_count": ("floats", "Discretization", {"bin_boundaries": [-1.0, 0.0, 1.0], "output_mode": "count"}),
}


def rows(name):
    """An input's rows as an array; text as bytes objects."""
    _, dtype, values = INPUTS[name]
    if dtype != "string":
        return np.array(values, dtype)
    array = np.array(values, object)
    flat = [value.encode("utf-8") for value in array.ravel()]
    out = np.empty(len(flat), object)
    out[:] = flat
    return out.reshape(array.shape)


def layer(keras, name, prefix=""):
    """The layer of a case, in a Keras; LookupError where that has none with such arguments."""
    _, kind, arguments = CASES[name]
    layers = keras.layers
    made = getattr(layers, kind, None) or getattr(getattr(getattr(layers, "experimental", None), "preprocessing", None), kind, None)
    if made is None:
        raise LookupError(kind)
    try:
        return made(name=prefix + name, **arguments)
    except (TypeError, ValueError) as error:
        raise LookupError(str(error)) from error


def grouped(keras):
    """By name: the input, a model of it with an output for each of its cases that this Keras has, and the names of these.

    Layers without a vocabulary have models of their own: early Kerases write nothing else into .h5 files.
    """
    models = {}
    for name, (given, kind, _) in CASES.items():
        shape, dtype, _ = INPUTS[given]
        group = given + ("" if kind in ("TextVectorization", "StringLookup", "IntegerLookup") else "-plain")
        try:
            made = layer(keras, name)
            entrance = models.setdefault(group, (given, keras.Input(shape, dtype=dtype, name="of_" + given), []))[1]
            models[group][2].append((name, made(entrance)))
        except (LookupError, ValueError, RuntimeError):  # this Keras lacks the class, an argument or what it would give
            continue
    return {
        group: (given, keras.Model(entrance, [output for _, output in made]), [name for name, _ in made])
        for group, (given, entrance, made) in models.items()
        if made
    }  # fmt: skip
