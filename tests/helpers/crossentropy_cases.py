"""What a Keras's ``evaluate`` makes of crossentropies behind activations: python crossentropy_cases.py FOLDER LIBRARY, under that Keras.

LIBRARY is what it is imported as: keras, tf.keras or tf_keras. Runs under any Python that such a Keras runs under. Weights are large, so
that some rows are wrong and all but certain. ``tools/record_evaluations.py`` archives the folder.
"""

import importlib
import json
import os
import sys
import warnings

import numpy as np

ROWS, STEPS, FEATURES, CLASSES = 7, 4, 3, 3
#: Keras's names, and what the targets are.
LOSSES = {"binary_crossentropy": "labels", "categorical_crossentropy": "one_hot", "sparse_categorical_crossentropy": "classes"}


def targets(steps):
    """By kind; ``steps``: for each timestep."""
    rng = np.random.RandomState(1)
    sizes = (ROWS, STEPS) if steps else (ROWS,)
    classes = rng.randint(0, CLASSES, sizes)
    one_hot = np.eye(CLASSES, dtype="float32")[classes]
    labels = rng.randint(0, 2, (*sizes, CLASSES)).astype("float32")
    single = rng.randint(0, 2, sizes).astype("float32")
    return {"classes": classes.astype("int32"), "one_hot": one_hot, "labels": labels, "single": single, "column": single[..., None]}


def models(keras):
    """By name: the model, whether it tells of each timestep, and whether it has one output unit."""
    layers = keras.layers

    def network(*last, **options):
        x = layers.Input((STEPS, FEATURES), name="x")
        h = layers.SimpleRNN(4, name="rnn", return_sequences=options.get("steps", False))(x)
        for layer in last:
            h = layer(h)
        return keras.models.Model(x, h)

    def dense(activation, units=CLASSES, **options):
        return layers.Dense(units, activation=activation, name="d", **options)

    def inside(activation):
        x = layers.Input((4,), name="i")
        return keras.models.Model(x, dense(activation)(x), name="inner")

    made = {}
    for activation in ("sigmoid", "softmax"):
        made[activation] = network(dense(activation)), False, False
        made[activation + " apart"] = network(dense(None), layers.Activation(activation, name="a")), False, False
        made[activation + " nested"] = network(inside(activation)), False, False
        made[activation + " steps"] = network(dense(activation), steps=True), True, False
        made[activation + " distributed"] = network(layers.TimeDistributed(dense(activation), name="t"), steps=True), True, False
        made[activation + " reshaped"] = network(dense(activation), layers.Reshape((CLASSES,), name="r")), False, False
        made[activation + " dropped"] = network(dense(activation), layers.Dropout(0.5, name="o")), False, False
    made["softmax layer"] = network(dense(None), layers.Softmax(name="s")), False, False
    made["one"] = network(dense("sigmoid", 1)), False, True
    made["one steps"] = network(dense("sigmoid", 1), steps=True), True, True
    rng = np.random.RandomState(3)
    for name in sorted(made):
        made[name][0].set_weights([rng.uniform(-25, 25, array.shape).astype("float32") for array in made[name][0].get_weights()])
    return made


def record(folder, library):
    """Models, data and results of one Keras."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    warnings.filterwarnings("ignore")
    keras = importlib.import_module("tensorflow").keras if library == "tf.keras" else importlib.import_module(library)
    x = np.random.RandomState(0).uniform(-1, 1, (ROWS, STEPS, FEATURES)).astype("float32")
    found, arrays = [], {"x": x}
    ending = ".keras" if hasattr(keras, "ops") else ".h5"
    for number, (name, (model, steps, one)) in enumerate(sorted(models(keras).items())):
        path = "m%d%s" % (number, ending)
        model.save(os.path.join(folder, path))
        for kind, given in targets(steps).items():
            arrays["%s_%s" % ("steps" if steps else "rows", kind)] = given
        for loss, kind in sorted(LOSSES.items()):
            if one and loss != "binary_crossentropy":
                continue
            for target in ("single", "column") if one else (kind,):
                case = {"model": name, "path": path, "loss": loss, "y": "%s_%s" % ("steps" if steps else "rows", target)}
                again = keras.models.Model(model.inputs, model.outputs)
                try:
                    again.compile("sgd", loss=loss, metrics=[loss])
                    case["listed"] = [float(one) for one in again.evaluate(x, arrays[case["y"]], batch_size=4, verbose=0)]
                except Exception as error:  # what this Keras refuses
                    case["error"] = "%s: %s" % (type(error).__name__, str(error)[:100])
                found.append(case)
    np.savez_compressed(os.path.join(folder, "cases.npz"), **arrays)
    version = getattr(keras, "__version__", None) or importlib.import_module("tensorflow").__version__
    with open(os.path.join(folder, "cases.json"), "w") as file:
        json.dump({"version": version, "cases": found}, file, sort_keys=True)
    print(version, len(found), "cases,", sum("error" in one for one in found), "errors")


if __name__ == "__main__":
    record(sys.argv[1], sys.argv[2])
