"""Record what the preprocessing functions of a Keras give, for tests/unit/test_preprocessing.py.

Run by the Python of each generation (3.6 or later), it adds to a file of compressed JSON; FOLDER is that of a source release,
whose modules are loaded without Keras:

    python tests/helpers/record_preprocessing.py FILE NAME [FOLDER]

The newest generation comes first: of later ones only that is kept in which they differ.

NAME is "keras" (Keras 3), "tf.keras", "tf_keras", "keras_preprocessing" or, with FOLDER, the name under which to record.
"""

import contextlib
import gzip
import importlib
import importlib.util
import json
import os
import sys

import numpy as np

TEXTS = [
    "The film was great, really GREAT!",
    "the plot: not so great...",
    "Caf\u00e9 \u0130stanbul stra\u00dfe\u2028na\u00efve it's",
    "a\tb\nc  d ",
    "",
    "great film",
]
NEW = ["The Film wasn't bad; great PLOT", "unknown words alone", ""]
LISTS = [["The", "film"], ["the", "Great", "the"]]
SETTINGS = {
    "plain": {},
    "num_words": {"num_words": 5},
    "oov": {"oov_token": "<OOV>"},
    "num_words, oov": {"num_words": 4, "oov_token": "<OOV>"},
    "lower off": {"lower": False},
    "characters": {"char_level": True},
    "characters, lower off": {"char_level": True, "lower": False},
    "filters": {"filters": "aeiou"},
    "split": {"split": "a"},
    "long split": {"split": " - "},
}
SEQUENCES = [[1], [2, 3, 4], [], [5, 6, 7, 8, 9]]
PADDED = {
    "plain": ((SEQUENCES,), {}),
    "maxlen": ((SEQUENCES, 3), {}),
    "post": ((SEQUENCES, 3), {"padding": "post", "truncating": "post"}),
    "value": ((SEQUENCES,), {"value": -1.5, "dtype": "float32"}),
    "cut to whole numbers": (([[1.7, -2.9], [3]],), {}),
    "vectors": (([[[1, 2], [3, 4]], [[5, 6]]], 3), {}),
    "strings": (([["a"], ["b", "cd"]],), {"dtype": "object", "value": "pad"}),
    "objects": (([["a"], ["b", "cd"]],), {"dtype": object, "value": "pad"}),
    "string for numbers": ((SEQUENCES,), {"value": "pad"}),
    "all empty": (([[], []], 2), {}),
    "none": (([],), {}),
    "maxlen 0": (([[1, 2]], 0), {}),
    "shapes": (([[[1, 2]], [3, 4]],), {}),
    "no list": ((3,), {}),
    "numbers": (([1, 2],), {}),
    "padding": ((SEQUENCES,), {"padding": "left"}),
    "truncating": ((SEQUENCES,), {"truncating": "left"}),
}
CLASSES = {
    "plain": (([0, 2, 1],), {}),
    "num_classes": (([0, 2, 1], 5), {}),
    "column": (([[0], [2]],), {}),
    "matrix": (([[0, 1], [2, 1]],), {}),
    "floats": (([0.9, 1.1],), {}),
    "negative": (([-1, 2],), {}),
    "beyond": (([0, 3], 2), {}),
    "none": (([],), {}),
}
HASHED = {
    "md5": (("The film, the FILM was fine", 50, "md5"), {}),
    "settings": (("The film, the FILM was fine", 7, "md5"), {"lower": False, "filters": "", "split": "i"}),
    "n 1": (("the film", 1, "md5"), {}),
}
SERIES = {
    "plain": {"length": 4},
    "vectors": {"length": 3, "vectors": True},
    "rate": {"length": 5, "sampling_rate": 2, "batch_size": 3},
    "stride": {"length": 2, "stride": 3, "batch_size": 2},
    "part": {"length": 3, "start_index": 4, "end_index": 12, "reverse": True, "batch_size": 4},
    "too long": {"length": 30},
}
WINDOWS = {
    "plain": {"sequence_length": 4},
    "rate": {"sequence_length": 3, "sampling_rate": 2, "batch_size": 5},
    "stride": {"sequence_length": 3, "sequence_stride": 4, "batch_size": 2},
    "part": {"sequence_length": 2, "start_index": 3, "end_index": 9},
    "targets": {"sequence_length": 3, "targets": 12, "batch_size": 4},
    "one by one": {"sequence_length": 9, "batch_size": None},
    "rate too large": {"sequence_length": 3, "sampling_rate": 30},
    "end too large": {"sequence_length": 3, "end_index": 30},
    "start too large": {"sequence_length": 3, "start_index": 30},
}
STEPS = 20


def told(value):
    """A result as JSON: arrays with dtype and shape."""
    if isinstance(value, np.ndarray):
        return {"dtype": str(value.dtype), "shape": list(value.shape), "values": [told(one) for one in value.ravel().tolist()]}
    if isinstance(value, (list, tuple)):
        return [told(one) for one in value]
    if isinstance(value, dict):
        return [[told(key), told(one)] for key, one in value.items()]
    return value.item() if isinstance(value, np.generic) else value


def result(function, *args, **given):
    """What a call gives, or that it raises."""
    try:
        return told(function(*args, **given))
    except Exception:  # noqa: BLE001 - which one differs between versions of NumPy
        return "raises"


def made(make, settings):
    """A tokenizer; Keras 1 has another name for one of its settings."""
    old = hasattr(make(), "nb_words")
    return make(**{"nb_words" if old and key == "num_words" else key: value for key, value in settings.items()})


def tokenizer_results(make, settings):
    """All that a tokenizer gives; of tables the order is left out, which depends on hashes."""
    tokenizer = made(make, settings)
    tokenizer.fit_on_texts(TEXTS)
    tokenizer.fit_on_texts(TEXTS[:2])
    found = {
        "word_index": sorted(tokenizer.word_index.items()),
        "word_counts": sorted(tokenizer.word_counts.items()),
        "word_docs": sorted(tokenizer.word_docs.items()),
        "index_docs": sorted(tokenizer.index_docs.items()),
        "document_count": tokenizer.document_count,
        "sequences": tokenizer.texts_to_sequences(TEXTS + NEW),
        "lists": result(tokenizer.texts_to_sequences, LISTS),
    }
    for mode in ("binary", "count", "freq", "tfidf", "other"):
        found["matrix " + mode] = result(tokenizer.texts_to_matrix, TEXTS[:1] + NEW[:1], mode)
    if hasattr(tokenizer, "sequences_to_texts"):
        found["texts"] = tokenizer.sequences_to_texts([[1, 2, 3], [4, 5, 99], []])
    if hasattr(tokenizer, "to_json"):
        found["json"] = of_json(tokenizer.to_json())
    return {key: value if isinstance(value, dict) else told(value) for key, value in found.items()}


def of_json(text):
    """The JSON of a tokenizer: its keys in order, its settings, and its tables, whose order depends on hashes, sorted."""
    whole = json.loads(text)
    config = [[key, sorted(json.loads(value).items()) if key.startswith(("word_", "index_")) else value]
              for key, value in whole["config"].items()]  # fmt: skip
    return [list(whole), whole["class_name"], config]


def raw_json(make):
    """The JSON of a tokenizer as it is written."""
    tokenizer = make(num_words=6, oov_token="<OOV>")
    tokenizer.fit_on_texts(TEXTS)
    return [tokenizer.to_json() if hasattr(tokenizer, "to_json") else None, tokenizer.texts_to_sequences(NEW)]


def batches(make, given):
    """All batches of a TimeseriesGenerator."""
    given = dict(given)
    data = np.arange(STEPS * 2).reshape(STEPS, 2) if given.pop("vectors", False) else np.arange(STEPS)
    generator = make(data, np.arange(STEPS) * 10, **given)
    return [list(generator[number]) for number in range(len(generator))]


def dataset(make, given):
    """All batches of a data set of windows."""
    given = dict(given)
    count = given.pop("targets", 0)
    found = make(np.arange(STEPS), np.arange(count) * 10 if count else None, **given)
    return [[np.asarray(part) for part in batch] if isinstance(batch, tuple) else np.asarray(batch) for batch in found]


def attempted(function, *args):
    """The same, or that it raises."""
    try:
        return told(function(*args))
    except Exception:  # noqa: BLE001
        return "raises"


def recorded(has):
    """Results of all functions that there are; ``has`` gives one by name, or None."""
    found = {}
    if has("Tokenizer"):
        for name, settings in SETTINGS.items():
            for part, value in attempted_tokenizer(has("Tokenizer"), settings).items():
                found["Tokenizer: " + name + ": " + part] = value
    for function, cases in (("pad_sequences", PADDED), ("to_categorical", CLASSES), ("hashing_trick", HASHED)):
        if has(function):
            for name, (args, given) in cases.items():
                found[function + ": " + name] = result(has(function), *args, **given)
    if has("TimeseriesGenerator"):
        found.update({"TimeseriesGenerator: " + name: attempted(batches, has("TimeseriesGenerator"), SERIES[name]) for name in SERIES})
    if has("timeseries_dataset_from_array"):
        make = has("timeseries_dataset_from_array")
        found.update({"timeseries_dataset_from_array: " + name: attempted(dataset, make, WINDOWS[name]) for name in WINDOWS})
    if has("make_sampling_table"):
        found["make_sampling_table"] = result(has("make_sampling_table"), 20)
    if has("skipgrams"):
        import random

        random.seed(3)
        found["skipgrams"] = result(has("skipgrams"), [1, 2, 0, 3, 4], 9, 2, shuffle=False)
        random.seed(3)
        found["skipgrams: categorical"] = result(has("skipgrams"), [1, 2, 0, 3, 4], 9, 1, 0.5, categorical=True)
    return found


def attempted_tokenizer(make, settings):
    """The results of a tokenizer, or that making or fitting one raises."""
    try:
        return tokenizer_results(make, settings)
    except Exception:  # noqa: BLE001
        return {"all": "raises"}


def modules(name, folder):
    """The modules that hold the functions, and the version."""
    if folder:
        found = []
        for path in ("preprocessing/text.py", "preprocessing/sequence.py", "utils/np_utils.py", "text.py", "sequence.py"):
            if os.path.exists(os.path.join(folder, path)):
                spec = importlib.util.spec_from_file_location(path.replace("/", "_")[:-3], os.path.join(folder, path))
                module = importlib.util.module_from_spec(spec)
                with contextlib.suppress(ImportError):  # of what stands beside it in Keras
                    spec.loader.exec_module(module)
                    found.append(module)
        return name, found
    if name == "keras_preprocessing":
        base = importlib.import_module("keras_preprocessing")
        return "keras_preprocessing " + base.__version__, [
            importlib.import_module("keras_preprocessing." + m) for m in ("text", "sequence")
        ]
    if name == "tf.keras":
        tensorflow = importlib.import_module("tensorflow")
        keras, version = tensorflow.keras, "tf.keras " + tensorflow.__version__
    else:
        keras = importlib.import_module(name)
        version = ("Keras " if name == "keras" else "tf_keras ") + keras.__version__
    for module in ("text", "sequence") if name == "keras" and not keras.__version__.startswith("3") else ():
        importlib.import_module("keras.preprocessing." + module)
    parts = getattr(keras, "preprocessing", None)
    found = [keras.utils, *(getattr(parts, m, None) for m in ("text", "sequence")), parts]
    if name == "keras" and keras.__version__.startswith("3"):
        found += [importlib.import_module("keras.src.legacy.preprocessing." + m) for m in ("text", "sequence")]
    return version, found


def main():
    """Add the results of this Python's Keras to a file."""
    path, name = sys.argv[1:3]
    version, parts = modules(name, sys.argv[3] if len(sys.argv) > 3 else None)

    def has(function):
        return next((getattr(part, function) for part in parts if getattr(part, function, None) is not None), None)

    kept = {"newest": {}, "others": {}}
    if os.path.exists(path):
        with gzip.open(path, "rt") as file:
            kept = json.load(file)
    found = recorded(has)
    if not kept["newest"]:
        kept["newest"], kept["version"] = json.loads(json.dumps(found)), version
    differing = {case: value for case, value in found.items() if kept["newest"].get(case) != json.loads(json.dumps(value))}
    kept["others"][version] = {"differing": differing}
    if has("Tokenizer") and hasattr(has("Tokenizer"), "to_json"):
        kept["others"][version]["json"] = raw_json(has("Tokenizer"))
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as file:  # the same bytes each time
        file.write(text.encode("ascii"))
    print(version, len(found), "cases,", len(differing), "differ")


if __name__ == "__main__":
    main()
