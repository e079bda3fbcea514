"""Make SavedModel folders and TensorFlow checkpoints with an installed tf.keras or tf_keras, and record what it predicts.

``python tools/make_saved_models.py FOLDER [--only REGEX]`` runs under every TensorFlow 2 (so it is written for Python 3.7 to 3.13). For
each case it writes ``FOLDER/CASE/`` with ``saved`` (the SavedModel), ``model.h5`` and ``model.json`` of the same model, ``checkpoint``
(``save_weights``), ``tracked`` (``tf.train.Checkpoint``) and ``arrays.npz``: inputs ``x0, ...`` and outputs ``y0, ...`` of ``predict``, or
``x0_call0, ...`` of a stateful model's calls. ``tests/helpers/saved_models.py`` checks them against fastlstm, and cuts them down to what
is kept in tests/corpus/recorded.
"""

import argparse
import json
import os
import re
import shutil
import sys
import time
import traceback

from saved_model_cases import CASES
from saved_model_cases.base import TF, keras, normal, np, tf


def shake(model, name):
    """Weights that tell one from another, biases and statistics too."""
    values = []
    for number, (variable, value) in enumerate(zip(model.weights, model.get_weights())):
        if getattr(value, "dtype", np.dtype(object)).kind != "f":
            values.append(value)
            continue
        fresh = normal("%s %d" % (name, number), *value.shape) * (1.2 / np.sqrt(max(value.shape[0], 1)) if value.ndim > 1 else 0.3)
        values.append(np.abs(fresh) + 0.5 if "variance" in variable.name else fresh)
    model.set_weights(values)


def flat(found):
    if isinstance(found, (list, tuple)):
        return [array for each in found for array in flat(each)]
    return [np.asarray(found)]


def predicted(model, given, calls):
    """Arrays by name, in the order in which they go in and come out."""
    if not calls:
        found = {"y%d" % number: y for number, y in enumerate(flat(model.predict(given if len(given) > 1 else given[0], verbose=0)))}
        return dict(found, **{"x%d" % number: one for number, one in enumerate(given)})
    found = {}
    for call in range(calls):
        turned = [np.roll(one, call, axis=1) for one in given]
        outputs = flat(model.predict(turned[0], batch_size=len(turned[0]), verbose=0))
        found.update({"x%d_call%d" % (number, call): one for number, one in enumerate(turned)})
        found.update({"y%d_call%d" % (number, call): one for number, one in enumerate(outputs)})
    return found


def reset(model):
    for layer in model.layers:
        if getattr(layer, "stateful", False):
            layer.reset_states()


def write(name, folder):
    function, options = CASES[name]
    if not options["since"] <= TF <= options["until"]:
        return "skipped"
    keras.backend.clear_session()
    model, given = function()
    if not options.get("trained"):
        shake(model, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    arrays = predicted(model, given, options["calls"])
    if options["calls"]:
        reset(model)
    arrays = {
        key: value.astype("S") if value.dtype.kind == "U" and all(ord(c) < 128 for c in "".join(value.ravel())) else value
        for key, value in arrays.items()
    }
    np.savez_compressed(os.path.join(folder, "arrays.npz"), **arrays)
    model.save(os.path.join(folder, "saved"), save_format="tf")
    with open(os.path.join(folder, "model.json"), "w") as stream:
        stream.write(model.to_json())
    model.save_weights(os.path.join(folder, "checkpoint", "weights"), save_format="tf")
    tf.train.Checkpoint(model=model).save(os.path.join(folder, "tracked", "all"))
    about = {"tensorflow": tf.__version__, "keras": getattr(keras, "__version__", ""), "calls": options["calls"], "inputs": len(given)}
    about.update(custom=options.get("custom", ""), text=bool(options.get("text")))
    try:
        model.save(os.path.join(folder, "model.h5"))
    except Exception as error:  # noqa: BLE001  some layers cannot be saved so
        about["h5"] = "%s: %s" % (type(error).__name__, str(error)[:200])
        if os.path.exists(os.path.join(folder, "model.h5")):
            os.remove(os.path.join(folder, "model.h5"))
    with open(os.path.join(folder, "about.json"), "w") as stream:
        json.dump(about, stream)
    return "written"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--only", default="", help="regular expression for the names of cases")
    options = parser.parse_args()
    counts = {}
    for name in CASES:
        if not re.search(options.only, name) or os.path.exists(os.path.join(options.folder, name, "about.json")):
            continue
        begun = time.time()
        try:
            outcome = write(name, os.path.join(options.folder, name))
        except Exception as error:  # noqa: BLE001  this Keras lacks the layer, or cannot save it
            outcome = "failed"
            shutil.rmtree(os.path.join(options.folder, name), ignore_errors=True)
            print("".join(traceback.format_exception_only(type(error), error))[:300])
            if os.environ.get("TRACE"):
                traceback.print_exc()
        counts[outcome] = counts.get(outcome, 0) + 1
        print("%-9s %-32s %.1f s" % (outcome, name, time.time() - begun), flush=True)
    print(tf.__version__, counts)


if __name__ == "__main__":
    sys.exit(main())
