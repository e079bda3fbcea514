"""What Keras users do to data before a network sees it: Keras's own functions, by its names, in NumPy alone."""

from typing import TYPE_CHECKING

from ..lazy import names

if TYPE_CHECKING:
    from .sequences import make_sampling_table, pad_sequences, skipgrams, to_categorical
    from .text import Tokenizer, hashing_trick, one_hot, text_to_word_sequence, tokenizer_from_json
    from .timeseries import TimeseriesGenerator, sliding_windows, timeseries_dataset_from_array

__getattr__, __dir__ = names(__name__, {
    "sequences": ("make_sampling_table", "pad_sequences", "skipgrams", "to_categorical"),
    "text": ("Tokenizer", "hashing_trick", "one_hot", "text_to_word_sequence", "tokenizer_from_json"),
    "timeseries": ("TimeseriesGenerator", "sliding_windows", "timeseries_dataset_from_array"),
})  # fmt: skip

__all__ = [
    "TimeseriesGenerator", "Tokenizer", "hashing_trick", "make_sampling_table", "one_hot", "pad_sequences", "skipgrams",
    "sliding_windows", "text_to_word_sequence", "timeseries_dataset_from_array", "to_categorical", "tokenizer_from_json",
]  # fmt: skip
