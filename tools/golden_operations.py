"""Make the part of the project's golden set that shows operations in graphs: each form of operation_forms.txt, under each Keras.

Runs under Python 3.7 to 3.13 and whatever Keras is installed::

    GOLDEN_API=keras|tf.keras|tf_keras python tools/golden_operations.py GENERATION [OPERATION ...]

writes ``tests/corpus/recorded/GENERATION.tar.xz`` (or renews some operations of it) in the layout of make_golden.py: a model an operation,
an output (or more, where it gives several tensors) a form, and one for each form that may be refused. A form that this Keras cannot
build, write, or read back to the same numbers is left out, and printed with its reason. GENERATION is operations-tf.keras-2.3 or the like.

Made so far with tf.keras of TensorFlow 2.0, 2.3, 2.10 and 2.15, Keras 3.0.5 and 3.3.3 on TensorFlow 2.16, tf_keras 2.21 and Keras 3.15 on
TensorFlow 2.21.
"""

import ast
import json
import os
import re
import sys
import tarfile

import make_golden
import numpy as np
import tensorflow as tf
from make_golden import API, HERE, MAJOR, VERSION, Input, L, Model, ids, keras, random, randomise

ROWS, STEPS, UNITS = 3, 5, 4
#: Keras 3.0 takes the axis for the order and the last of several for the first: nobody can have meant that.
MISTAKEN = {"ops.normalize(h, axis=1)", "ops.take(h, -1, axis=1)"} if VERSION.startswith("3.0.") else set()
APART = "! "  # before a form that fastlstm may refuse: it is outside the table, or goes across the rows of a batch
TENSORFLOW = tuple(map(int, tf.__version__.split(".")[:2]))
KERAS_ARCHIVES = API != "tf.keras" or TENSORFLOW >= (2, 13)  # does it write .keras?
ENDINGS = [".h5"] + [".keras"] * KERAS_ARCHIVES
UNSURE = (MAJOR < 3 and TENSORFLOW != (2, 10)) or VERSION.startswith("3.0.")  # names or arguments may keep a model from being saved
ops = getattr(keras, "ops", None)


def without(array, *places):
    """The array with zeros at the places."""
    for place in places:
        array[place] = 0
    return array


INPUTS = {
    "x": random("x", ROWS, STEPS, 3),
    "a": without(random("a", ROWS, STEPS, UNITS), (1, slice(2)), (2, slice(3, None))),
    "b": random("b", ROWS, STEPS, UNITS),
    "p": np.abs(random("p", ROWS, STEPS, UNITS)) + np.float32(0.2),
    "u": random("u", ROWS, 6, UNITS),
    "r": random("r", ROWS, UNITS),
    "w": random("w", ROWS, STEPS, 1),
    "ids": without(ids("ids", 8, ROWS, STEPS) - 1, (1, slice(3, None)), (2, 0)),
    "one": ids("one", 8, ROWS, 1) - 1,
}
#: Tensors that layers make of an input; h and g are a Dense's where an operation is not in RECURRENT: that is built much faster.
RECURRENT = ("getitem", "attention_by_hand", "layers_between", "masks")
MADE = {
    "h": ("x", lambda x: L.Dense(UNITS, activation="tanh", name="h")(x)),
    "g": ("x", lambda x: L.Dense(UNITS, activation="tanh", name="g")(L.Flatten()(x))),
    "recurrent h": ("x", lambda x: L.LSTM(UNITS, return_sequences=True, name="h")(x)),
    "recurrent g": ("x", lambda x: L.GRU(UNITS, name="g")(x)),
    "k": ("a", lambda a: L.Masking(name="k")(a)),
    "j": ("ids", lambda given: L.Embedding(7, UNITS, mask_zero=True, name="j")(given)),
}


#: What is hung on a model when it is made, by the name of the operation that shows it.
HUNG = {
    "add_loss": lambda model, names: model.add_loss(0.1 * tf.reduce_mean(tf.abs(names["h"] - names["a"]))),
    "add_metric": lambda model, names: model.add_metric(tf.reduce_sum(names["h"], axis=-1), name="of_h", aggregation="mean"),
}


class Names(dict):
    """What a form may name; each tensor is made when one first asks for it."""

    def __init__(self, recurrent):
        self.recurrent = recurrent
        dict.__init__(self, L=L, K=keras.backend, A=keras.activations, np=np, tf=tf, keras=keras, ops=ops)
        self.update(
            C=lambda *shape: random("constant", *shape),
            F=lambda tensor: ops.cast(tensor, "float32") if ops else tf.cast(tensor, tf.float32),
            lstm=lambda tensor, **words: L.LSTM(3)(tensor, **words),
            steps=lambda tensor, **words: L.LSTM(UNITS, return_sequences=True)(tensor, **words),
            dense=lambda tensor: L.Dense(3)(tensor),
        )

    def __missing__(self, name):
        if name in MADE:
            recurrent = "recurrent " + name
            source, make = MADE[recurrent if self.recurrent and recurrent in MADE else name]
            self[name] = make(self[source])
        elif name in INPUTS:
            shape = (None, UNITS) if name == "u" else INPUTS[name].shape[1:]
            self[name] = Input(shape, dtype=str(INPUTS[name].dtype), name=name)
        else:
            raise KeyError(name)
        return self[name]


def read_forms():
    """Operation -> its forms under this Keras, in the order of the file."""
    forms, wanted = {}, False
    with open(os.path.join(HERE, "operation_forms.txt"), encoding="utf-8") as lines:
        for line in filter(None, map(str.strip, lines)):
            if line.startswith("["):
                wanted = line in ("[signs]", "[keras3]" if MAJOR >= 3 else "[tensorflow]")
            elif wanted and not line.startswith("#"):
                operation, _, listed = line.partition(": ")
                forms.setdefault(operation, []).extend(listed.split(" ; "))
    return forms


def flat(found):
    """The tensors of what a form gives."""
    if isinstance(found, (list, tuple)):
        return [tensor for one in found for tensor in flat(one)]
    return [found]


def inputs_of(form):
    """The inputs that a form needs."""
    used = {node.id for node in ast.walk(ast.parse(form)) if isinstance(node, ast.Name)}
    return {MADE[name][0] if name in MADE else name for name in used if name in MADE or name in INPUTS}


def computed(model, inputs):
    """What the model gives, all rows at once."""
    given = [tf.constant(INPUTS[name]) for name in inputs]
    return [np.asarray(tensor) for tensor in flat(model(given if len(given) > 1 else given[0], training=False))]


def read_back(model):
    """The model as this Keras reads its own architecture; Keras 3.0 does not read the indices that it wrote."""
    text = model.to_json()
    if VERSION.startswith("3.0."):
        return model
    again = keras.models.model_from_json(text)
    again.set_weights(model.get_weights())
    return again


def tried(form, names, path):
    """The tensors of a form; raises whatever keeps this Keras from building it, writing it (to ``path``) or reading it."""
    inputs = sorted(inputs_of(form))
    outputs = flat(eval(form, {}, names))  # noqa: S307  an expression of the file beside this one
    model = Model([names[name] for name in inputs], outputs)
    here, there = computed(model, inputs), computed(read_back(model), inputs)
    for one, other in zip(here, there):
        if one.shape != other.shape or not np.allclose(one, other, equal_nan=True, atol=1e-6):
            raise ValueError("read back, it gives other numbers")
    for ending in ENDINGS if UNSURE else ():
        model.save(path + ending)
        os.remove(path + ending)
    return outputs


def written(model):
    """The operations in a graph, by the names that its file has for them."""
    names = set()
    for node in json.loads(model.to_json())["config"]["layers"]:
        config = node["config"]
        if node["class_name"] in ("TFOpLambda", "SlicingOpLambda"):
            names.add(config["function"])
        elif node["class_name"] in ("ClassMethod", "InstanceMethod", "InstanceProperty"):
            names.add(".".join(filter(None, [config.get("cls_symbol"), config.get("method_name") or config["attr_name"]])))
        elif node["class_name"] == "TensorFlowOpLayer":
            names.add(re.search(r'"op": "(\w+)"', json.dumps(config["node_def"]).replace("\\", "")).group(1))
        elif "trainable" not in config and node["class_name"] != "InputLayer":
            names.add(node["class_name"])
    return sorted(names)


def built(listed, names, path):
    """The forms of a list that this Keras can build, each with its tensors."""
    for form in listed:
        try:
            yield form, tried(form, names, path)
        except Exception as error:  # noqa: BLE001  whatever a Keras makes of a form that it does not have
            print(f"  not here: {form}: {type(error).__name__}: {str(error).strip()[:150]!r}")


def save(case, found, names, folder, apart=False):
    """Write the model whose outputs are the tensors of some forms; its line of the index."""
    inputs = sorted({name for form, _ in found for name in inputs_of(form)})
    model = Model([names[name] for name in inputs], [tensor for _, tensors in found for tensor in tensors])
    HUNG.get(case, lambda *_: None)(model, names)
    randomise(model, "operations")
    for ending in ENDINGS:
        model.save(os.path.join(folder, case + ending))
    data = {f"x{number}": INPUTS[name] for number, name in enumerate(inputs)}
    data.update((f"y{number}", array) for number, array in enumerate(computed(model, inputs)))
    np.savez(os.path.join(folder, case + ".npz"), **data)
    forms = [{"form": form, "outputs": len(tensors)} for form, tensors in found]
    files = sorted(case + ending for ending in [*ENDINGS, ".npz"])
    layers = ["operations apart"] if apart else []  # what the corpus takes for a reason to refuse
    return {"case": case, "files": files, "forms": forms, "layers": layers, "refuse": "", "stateful": False, "operations": written(model)}


def made(operation, listed, folder):
    """A line of the index for the forms of an operation, and one for each that stands apart."""
    keras.backend.clear_session()
    names, path = Names(operation in RECURRENT), os.path.join(folder, "trial")
    found = list(built([form for form in listed if not form.startswith(APART) and form not in MISTAKEN], names, path))
    if found:
        yield save(operation, found, names, folder)
    apart = [form[len(APART) :] for form in listed if form.startswith(APART)]
    for number, one in enumerate(built(apart, names, path)):
        yield save(f"{operation}-apart{number}", [one], names, folder, apart=True)


def records(generation, wanted, folder):
    """The lines of the index; where some operations are named, what the archive has of the others stays."""
    path = make_golden.archive_path(generation)
    if wanted and os.path.exists(path):
        with tarfile.open(path) as archive:
            archive.extractall(os.path.dirname(folder))
        with open(os.path.join(folder, "index.jsonl"), encoding="utf-8") as index:
            lines = [json.loads(line) for line in index]
        for line in lines:
            if line["case"].partition("-")[0] not in wanted:
                yield line
            else:
                for name in line["files"]:
                    os.remove(os.path.join(folder, name))
    for operation, listed in read_forms().items():
        if not wanted or operation in wanted:
            print(operation)
            yield from made(operation, listed, folder)


if __name__ == "__main__":
    make_golden.write(sys.argv[1], lambda folder: records(sys.argv[1], sys.argv[2:], folder))
