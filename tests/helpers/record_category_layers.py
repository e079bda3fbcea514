"""Record what a Keras makes of ``preprocessing_cases``: python record_category_layers.py NAME [LIBRARY], under that Keras.

Writes ``tests/corpus/recorded/preprocessing/NAME.zip``: a file of each model, and the outputs of its layers. LIBRARY is ``keras`` for
Keras 3, else ``tensorflow.keras``. Runs under any Python that such a Keras runs under, without fastlstm.
"""

import importlib
import io
import os
import sys
import tempfile
import zipfile
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
FOLDER = Path(__file__).resolve().parents[1] / "corpus" / "recorded" / "preprocessing"


def packed(path):
    """A file's bytes; an archive compressed, which Keras leaves as it is."""
    if not zipfile.is_zipfile(str(path)):
        return Path(path).read_bytes()
    out = io.BytesIO()
    with zipfile.ZipFile(str(path)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(zipfile.ZipInfo(info.filename), old.read(info), zipfile.ZIP_DEFLATED)
    return out.getvalue()


def saved(model, folder, given):
    """The file of a model in the newest format that this Keras writes it in; None where it writes none."""
    for ending in (".keras", ".h5"):
        path = os.path.join(folder, given + ending)
        try:
            model.save(path, **({"save_format": "h5"} if ending == ".h5" and not hasattr(model, "export") else {}))
        except Exception as error:  # noqa: BLE001 - whatever an old Keras raises for what it cannot save
            print(given, ending, "not saved:", type(error).__name__, str(error)[:100])
            continue
        if os.path.isfile(path):
            return path
    return None


def main(name, library="tensorflow.keras"):
    """Record one Keras."""
    import numpy as np
    import preprocessing_cases as cases
    import tensorflow as tf

    keras = importlib.import_module("keras") if library == "keras" else tf.keras
    arrays, files = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for group, (given, model, names) in cases.grouped(keras).items():
            path = saved(model, folder, group)
            if path is None:
                continue
            try:  # what it makes of its own file, which is not always what it made before
                found = keras.models.load_model(path).predict(tf.constant(cases.rows(given)), verbose=0)
            except Exception as error:  # noqa: BLE001 - early Keras 3 makes models that it cannot compute
                print(group, "not computed:", type(error).__name__, str(error)[:100])
                continue
            for case, y in zip(names, found if isinstance(found, list) else [found]):
                arrays[group + "/" + case] = np.asarray(y).astype("S") if np.asarray(y).dtype == object else np.asarray(y)
            files[os.path.basename(path)] = packed(path)
    out = io.BytesIO()
    np.savez(out, **arrays)
    files["expected.npz"] = packed_bytes(out.getvalue())
    FOLDER.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(str(FOLDER / (name + ".zip")), "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(file), data, zipfile.ZIP_DEFLATED)
    print(name, len(arrays), "outputs", (FOLDER / (name + ".zip")).stat().st_size, "bytes")


def packed_bytes(data):
    """An archive's bytes, compressed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a"
        path.write_bytes(data)
        return packed(path)


if __name__ == "__main__":
    main(*sys.argv[1:])
