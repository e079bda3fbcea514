"""Models, data and what they are compiled with, for comparisons of ``evaluate`` with Keras. Runs under old ones too: no annotations.

``python evaluation_cases.py FOLDER [keras | tf.keras | tf_keras]`` records what the Keras of that Python gives: models, ``cases.npz``
and ``cases.json``. ``tools/record_evaluations.py`` makes the archives of ``tests/corpus/recorded`` of such folders.
"""

import importlib
import json
import os
import sys
import warnings

import numpy as np

ROWS, BATCH, STEPS = 11, 4, 5


def data():
    """Inputs, targets and weights by name."""
    rng = np.random.RandomState(7)
    x = rng.randn(ROWS, STEPS, 3).astype("float32")
    for row, length in enumerate([5, 3, 1, 4, 5, 2, 5, 4, 3, 5, 2]):
        x[row, length:] = 0
    weights = np.array([1, 0.5, 2, 0, 1, 3, 0.25, 1, 1, 0.5, 2], "float32")
    return {
        "x": x,
        "one_hot": np.eye(3, dtype="float32")[rng.randint(0, 3, ROWS)],
        "classes": rng.randint(0, 3, ROWS).astype("int32"),
        "binary": rng.randint(0, 2, (ROWS, 1)).astype("float32"),
        "flat": rng.randint(0, 2, ROWS).astype("float32"),
        "labels": rng.randint(0, 2, (ROWS, 3)).astype("float32"),
        "real": rng.randn(ROWS, 3).astype("float32"),
        "positive": rng.rand(ROWS, 3).astype("float32"),
        "one": rng.randn(ROWS, 1).astype("float32"),
        "step_real": rng.randn(ROWS, STEPS, 2).astype("float32"),
        "step_one_hot": np.eye(3, dtype="float32")[rng.randint(0, 3, (ROWS, STEPS))],
        "step_classes": rng.randint(0, 3, (ROWS, STEPS, 1)).astype("int32"),
        "weights": weights,
        "step_weights": (rng.randint(0, 4, (ROWS, STEPS)) / 2.0).astype("float32"),
    }


def entry(kind, **config):
    """An object of a class of Keras's."""
    return {"class_name": kind, "config": config}


def case(model, y, loss, metrics=None, **more):
    """One evaluation."""
    found = {"model": model, "y": y, "loss": loss, "metrics": metrics}
    found.update(more)
    return found


#: Losses by name, and which model and targets they fit.
PLAIN = {
    "mean_squared_error": ("regression", "real"),
    "mean_absolute_error": ("regression", "real"),
    "mean_absolute_percentage_error": ("regression", "real"),
    "mean_squared_logarithmic_error": ("positive", "positive"),
    "mse": ("regression", "real"),
    "mae": ("regression", "real"),
    "mape": ("regression", "real"),
    "msle": ("positive", "positive"),
    "squared_hinge": ("regression", "labels"),
    "hinge": ("regression", "labels"),
    "categorical_hinge": ("regression", "one_hot"),
    "logcosh": ("regression", "real"),
    "log_cosh": ("regression", "real"),
    "huber": ("regression", "real"),
    "huber_loss": ("regression", "real"),
    "categorical_crossentropy": ("classes", "one_hot"),
    "sparse_categorical_crossentropy": ("classes", "classes"),
    "binary_crossentropy": ("positive", "labels"),
    "kullback_leibler_divergence": ("classes", "one_hot"),
    "kl_divergence": ("classes", "one_hot"),
    "kld": ("classes", "one_hot"),
    "poisson": ("positive", "positive"),
    "cosine_proximity": ("regression", "real"),
    "cosine_similarity": ("regression", "real"),
    "binary_focal_crossentropy": ("positive", "labels"),
    "categorical_focal_crossentropy": ("classes", "one_hot"),
    "MSE": ("regression", "real"),
    "KLDivergence": ("classes", "one_hot"),
}
#: Losses as objects.
OBJECTS = [
    ("regression", "real", entry("Huber", delta=0.4)),
    ("regression", "real", entry("MeanSquaredError", reduction="sum")),
    ("regression", "real", entry("LogCosh")),
    ("regression", "real", entry("CosineSimilarity")),
    ("logits", "one_hot", entry("CategoricalCrossentropy", from_logits=True)),
    ("classes", "one_hot", entry("CategoricalCrossentropy", label_smoothing=0.2)),
    ("logits", "one_hot", entry("CategoricalCrossentropy", from_logits=True, label_smoothing=0.1)),
    ("logits", "classes", entry("SparseCategoricalCrossentropy", from_logits=True)),
    ("classes", "classes", entry("SparseCategoricalCrossentropy", ignore_class=1)),
    ("logits", "labels", entry("BinaryCrossentropy", from_logits=True)),
    ("positive", "labels", entry("BinaryCrossentropy", label_smoothing=0.2)),
    ("positive", "labels", entry("BinaryFocalCrossentropy", gamma=1.5, alpha=0.3, apply_class_balancing=True)),
    ("logits", "labels", entry("BinaryFocalCrossentropy", from_logits=True, label_smoothing=0.1)),
    ("classes", "one_hot", entry("CategoricalFocalCrossentropy", gamma=1.0, alpha=0.5)),
    ("regression", "labels", entry("Hinge")),
    ("regression", "labels", entry("SquaredHinge")),
    ("regression", "one_hot", entry("CategoricalHinge")),
    ("classes", "one_hot", entry("KLDivergence")),
    ("positive", "positive", entry("Poisson")),
    ("regression", "real", entry("MeanAbsolutePercentageError")),
    ("positive", "positive", entry("MeanSquaredLogarithmicError")),
    ("regression", "real", entry("MeanAbsoluteError")),
    ("regression", "real", entry("MeanSquaredError", reduction="mean_with_sample_weight")),
]


def measure(kind, **config):
    """The same of a metric, which Keras would number where it has no name."""
    return entry(kind, **dict({"name": kind.lower()}, **config))


#: Metrics that are objects, of probabilities of labels.
COUNTED = [
    measure("AUC"),
    measure("AUC", num_thresholds=7),
    measure("AUC", curve="PR"),
    measure("AUC", curve="PR", summation_method="minoring"),
    measure("AUC", summation_method="majoring", num_thresholds=20),
    measure("AUC", thresholds=[0.1, 0.4, 0.45]),
    measure("AUC", multi_label=True),
    measure("AUC", multi_label=True, label_weights=[0.2, 0.3, 0.5]),
    measure("AUC", label_weights=[1.0, 0.5, 0.2]),
    measure("Precision"),
    measure("Recall"),
    measure("Precision", thresholds=0.45),
    measure("Precision", top_k=2),
    measure("Recall", top_k=1),
    measure("Precision", class_id=1),
    measure("Recall", class_id=2, thresholds=[0.3, 0.5]),
    measure("Recall", thresholds=[0.6, 0.2]),
    measure("TruePositives"),
    measure("TrueNegatives"),
    measure("FalsePositives", thresholds=0.4),
    measure("FalseNegatives"),
    measure("BinaryAccuracy", threshold=0.4),
    measure("SensitivityAtSpecificity", specificity=0.4),
    measure("SpecificityAtSensitivity", sensitivity=0.3),
    measure("PrecisionAtRecall", recall=0.5),
    measure("RecallAtPrecision", precision=0.4),
    measure("F1Score", threshold=0.5),
    measure("F1Score"),
    measure("F1Score", average="micro"),
    measure("F1Score", average="macro", threshold=0.4),
    measure("F1Score", average="weighted"),
    measure("FBetaScore", beta=2.0, threshold=0.5, average="macro"),
    measure("BinaryCrossentropy"),
    measure("BinaryCrossentropy", label_smoothing=0.1),
]
REAL = [
    measure("RootMeanSquaredError"),
    measure("R2Score"),
    measure("R2Score", class_aggregation="variance_weighted_average"),
    measure("R2Score", class_aggregation=None),
    measure("R2Score", num_regressors=2),
    measure("MeanAbsoluteError"),
    measure("CosineSimilarity"),
    measure("LogCoshError"),
    measure("MeanSquaredError", name="my_mse"),
]
CLASSES = [
    "categorical_accuracy",
    "categorical_crossentropy",
    "kullback_leibler_divergence",
    measure("TopKCategoricalAccuracy", k=2),
    "acc",
]


def cases():
    """All of them; what a Keras does not have it leaves out."""
    found = []
    for loss, (model, y) in sorted(PLAIN.items()):
        found.append(case(model, y, loss))
        found.append(case(model, y, loss, [loss], sample_weight="weights"))
    for model, y, loss in OBJECTS:
        found.append(case(model, y, loss))
        found.append(case(model, y, loss, sample_weight="weights"))
    for metric in COUNTED:
        found.append(case("positive", "labels", "mse", [metric]))
        found.append(case("positive", "labels", "mse", weighted_metrics=[metric], sample_weight="weights"))
    for metric in REAL:
        found.append(case("regression", "real", "mse", [metric], weighted_metrics=[metric], sample_weight="weights"))
    found += [case("classes", "one_hot", "categorical_crossentropy", [metric]) for metric in CLASSES]
    found += [
        case("classes", "classes", "sparse_categorical_crossentropy", [metric], weighted_metrics=[metric], sample_weight="weights")
        for metric in (
            "accuracy",
            "sparse_categorical_accuracy",
            "crossentropy",
            measure("SparseTopKCategoricalAccuracy", k=2),
            measure("SparseCategoricalCrossentropy"),
            "acc",
        )
    ]
    found += [
        case("binary", y, "binary_crossentropy", ["accuracy", "mae"], sample_weight=weights, batch_size=batch)
        for y in ("binary", "flat")
        for weights in (None, "weights")
        for batch in (4, 11, None)
    ]
    found += [case("positive", "labels", "binary_crossentropy", ["accuracy"]), case("one", "one", "mse", ["acc"])]
    found += [case("classes", "one_hot", "mse", ["accuracy"]), case("penalised", "real", "mse", ["mae"]), case("frozen", "real", "mse")]
    return found + by_step() + of_two()


def by_step():
    """Those of models with a prediction for each timestep, most with masks."""
    found = []
    for loss, y, model in (
        ("mse", "step_real", "steps"),
        ("mae", "step_real", "unmasked"),
        ("categorical_crossentropy", "step_one_hot", "step_classes"),
        ("sparse_categorical_crossentropy", "step_classes", "step_classes"),
    ):
        metrics = ["accuracy"] if "classes" in model else ["mae", "mse"]
        for weights, mode in ((None, None), ("weights", None), ("step_weights", "temporal")):
            found.append(case(model, y, loss, metrics, weighted_metrics=metrics, sample_weight=weights, sample_weight_mode=mode))
            found.append(case(model, y, loss, sample_weight=weights, sample_weight_mode=mode))
    found += [
        case("steps", "step_real", entry("MeanSquaredError", reduction="sum"), [measure("RootMeanSquaredError")]),
        case("steps", "step_real", "mse", [measure("RootMeanSquaredError")], sample_weight="step_weights", sample_weight_mode="temporal"),
    ]
    return found


def of_two():
    """Those of a model with two outputs."""
    found = []
    both = ["one_hot", "one"]
    found += [
        case("two", both, ["categorical_crossentropy", "mse"]),
        case("two", both, {"p": "categorical_crossentropy", "q": "mse"}, {"p": ["accuracy"], "q": ["mae"]}),
        case("two", both, "mse", [["mae"], ["mae", "mse"]], loss_weights=[0.3, 2.0]),
        case(
            "two",
            both,
            "mse",
            {"p": "mae", "q": ["mse"]},
            loss_weights={"p": 0.3, "q": 2.0},
            weighted_metrics={"q": ["mse"]},
            sample_weight=["weights", "weights"],
        ),
        case("two", both, ["mse", None], {"p": ["mae"]}),
        case("two", both, "mae", ["mse"]),
        case("two", both, "mae", ["mse", "mae"]),
    ]
    return found


def models(keras):
    """The models by name, with random weights."""
    layers = keras.layers

    def network(*rest, **options):
        x = keras.Input((STEPS, 3), name="x") if hasattr(keras, "Input") else layers.Input((STEPS, 3), name="x")
        h = layers.LSTM(4, name="lstm", **options)(x)
        for layer in rest:
            h = layer(h)
        return keras.models.Model(x, h)

    def by_step(units, activation, mask):
        x = layers.Input((STEPS, 3), name="x")
        h = layers.Masking(name="masking")(x) if mask else x
        h = layers.LSTM(4, return_sequences=True, name="lstm")(h)
        return keras.models.Model(x, layers.TimeDistributed(layers.Dense(units, activation=activation), name="steps")(h))

    def two():
        x = layers.Input((STEPS, 3), name="x")
        h = layers.LSTM(4, name="lstm", recurrent_regularizer=keras.regularizers.l2(0.01))(x)
        return keras.models.Model(x, [layers.Dense(3, activation="softmax", name="p")(h), layers.Dense(1, name="q")(h)])

    def penalised(**options):
        rules = {"kernel_regularizer": keras.regularizers.l2(0.1), "bias_regularizer": keras.regularizers.l1(0.2)}
        return network(layers.Dense(3, name="d", **dict(rules, **options)))

    found = {
        "regression": network(layers.Dense(3, name="d")),
        "logits": network(layers.Dense(3, name="d")),
        "positive": network(layers.Dense(3, activation="sigmoid", name="d")),
        "classes": network(layers.Dense(3, activation="softmax", name="d")),
        "one": network(layers.Dense(1, name="d")),
        "binary": network(layers.Dense(1, activation="sigmoid", name="d")),
        "penalised": penalised(),
        "frozen": penalised(trainable=False),
        "steps": by_step(2, None, True),
        "unmasked": by_step(2, None, False),
        "step_classes": by_step(3, "softmax", True),
        "two": two(),
    }
    rng = np.random.RandomState(3)
    for name in sorted(found):
        found[name].set_weights([rng.uniform(-0.8, 0.8, array.shape).astype("float32") for array in found[name].get_weights()])
    return found


def resolved(keras, value, kind):
    """A loss or metric as that Keras takes it."""
    if isinstance(value, dict) and "class_name" in value:
        return getattr(getattr(keras, kind), value["class_name"])(**value["config"])
    if isinstance(value, dict):
        return {key: resolved(keras, one, kind) for key, one in value.items()}
    return [resolved(keras, one, kind) for one in value] if isinstance(value, list) else value


def evaluated(keras, model, one, arrays):
    """What Keras's evaluate returns, and its names."""
    options = {"loss": resolved(keras, one["loss"], "losses"), "metrics": resolved(keras, one["metrics"], "metrics")}
    for key in ("weighted_metrics", "loss_weights", "sample_weight_mode"):
        if one.get(key) is not None:
            options[key] = resolved(keras, one[key], "metrics")
    if one.get("sample_weight_mode") and not takes_mode(keras):
        del options["sample_weight_mode"]
    model = keras.models.Model(model.inputs, model.outputs)  # Keras 3 keeps the metrics of what was compiled before
    model.compile("sgd", **options)

    def picked(name):
        return None if name is None else [arrays[one_name] for one_name in name] if isinstance(name, list) else arrays[name]

    given = {"batch_size": one.get("batch_size", BATCH), "verbose": 0, "sample_weight": picked(one.get("sample_weight"))}
    found = model.evaluate(arrays["x"], picked(one["y"]), **given)
    try:
        named = model.evaluate(arrays["x"], picked(one["y"]), return_dict=True, **given)
    except TypeError:
        named = dict(zip(model.metrics_names, found if isinstance(found, list) else [found]))
    return found, named


def version_of(keras):
    """Its version; tf.keras 2.15 leaves that to TensorFlow."""
    return getattr(keras, "__version__", None) or importlib.import_module("tensorflow").__version__


def takes_mode(keras):
    """Has compile an argument sample_weight_mode that means something?"""
    version = [int(part) for part in version_of(keras).split("-")[0].split(".")[:2]]
    return version <= [2, 2] or (version == [2, 3] and "-tf" not in version_of(keras))


def plain(value):
    """As JSON."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    array = np.asarray(value, "float64")
    return array.tolist()


def record(folder, library):
    """Models, data and results of one Keras."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    warnings.filterwarnings("ignore")
    keras = importlib.import_module("tensorflow").keras if library == "tf.keras" else importlib.import_module(library)
    arrays = data()
    made = models(keras)
    np.savez_compressed(os.path.join(folder, "cases.npz"), **arrays)
    ending = ".keras" if hasattr(keras, "ops") else ".h5"
    for name, model in made.items():
        model.save(os.path.join(folder, name + ending))
    results = []
    for one in cases():
        try:
            found, named = evaluated(keras, made[one["model"]], one, arrays)
            results.append(dict(one, listed=plain(found), named=plain(named)))
        except Exception as error:  # what this Keras does not have, or refuses
            results.append(dict(one, error="%s: %s" % (type(error).__name__, str(error).splitlines()[0][:160] if str(error) else "")))
    kept = saved(keras, made, arrays, folder)
    with open(os.path.join(folder, "cases.json"), "w") as file:
        json.dump({"version": version_of(keras), "ending": ending, "cases": results, "saved": kept}, file, sort_keys=True, allow_nan=True)
    print(version_of(keras), len(results), "cases,", sum("error" in one for one in results), "errors")


#: Numbers of cases whose models are saved as they are compiled, and what the file gives when it is loaded and evaluated.
SAVED = [
    ("classes", "one_hot", {"loss": "categorical_crossentropy", "metrics": ["accuracy", "mae"]}),
    ("classes", "classes", {"loss": "sparse_categorical_crossentropy", "metrics": ["acc"]}),
    ("binary", "binary", {"loss": "binary_crossentropy", "metrics": ["accuracy"]}),
    (
        "two",
        ["one_hot", "one"],
        {"loss": ["categorical_crossentropy", "mse"], "metrics": {"p": ["accuracy"], "q": ["mae"]}, "loss_weights": [1.0, 0.5]},
    ),
    ("regression", "real", {"loss": entry("Huber", delta=0.4), "metrics": [measure("RootMeanSquaredError")]}),
    (
        "positive",
        "labels",
        {"loss": entry("BinaryCrossentropy", label_smoothing=0.1), "metrics": [measure("AUC", num_thresholds=9), measure("Precision")]},
    ),
]


def saved(keras, made, arrays, folder):
    """Models saved with what they were compiled with."""
    found = []
    endings = [".h5", ".keras"] if hasattr(keras, "ops") or version_of(keras) >= "2.13" else [".h5"]
    for number, (name, y, options) in enumerate(SAVED):
        for ending in endings:
            target = [arrays[one] for one in y] if isinstance(y, list) else arrays[y]
            path = "compiled%d%s" % (number, ending)
            try:
                model = made[name]
                resolve = {key: resolved(keras, one, "losses" if key == "loss" else "metrics") for key, one in options.items()}
                model.compile("sgd", **resolve)
                model.evaluate(arrays["x"], target, batch_size=BATCH, verbose=0)
                model.save(os.path.join(folder, path))
                again = keras.models.load_model(os.path.join(folder, path))
                again.evaluate(arrays["x"], target, batch_size=BATCH, verbose=0)
                found.append(
                    {
                        "path": path,
                        "y": y,
                        "listed": plain(again.evaluate(arrays["x"], target, batch_size=BATCH, verbose=0)),
                        "original": plain(model.evaluate(arrays["x"], target, batch_size=BATCH, verbose=0)),
                    }
                )
            except Exception as error:
                found.append({"path": path, "error": "%s: %s" % (type(error).__name__, str(error)[:160])})
    return found


if __name__ == "__main__":
    record(sys.argv[1], sys.argv[2])
