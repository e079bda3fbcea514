"""Record what scikit-learn's scalers and encoders give, for tests/unit/test_pipelines.py: their public attributes, and results in float64.

    python tests/helpers/record_scalers.py FILE

adds the version of scikit-learn that this Python has to a file of JSON.
"""

import json
import os
import sys

import numpy as np

SETTINGS = [
    ("MinMaxScaler", {}), ("MinMaxScaler", {"feature_range": (-1, 1)}), ("MinMaxScaler", {"clip": True}), ("StandardScaler", {}),
    ("StandardScaler", {"with_mean": False}), ("StandardScaler", {"with_std": False}),
    ("StandardScaler", {"with_mean": False, "with_std": False}), ("RobustScaler", {}), ("RobustScaler", {"with_centering": False}),
    ("RobustScaler", {"with_scaling": False}), ("RobustScaler", {"quantile_range": (10.0, 90.0)}), ("MaxAbsScaler", {}),
]  # fmt: skip
LABELS = {"texts": ["b", "a", "c", "a"], "numbers": [3, 1, 2], "two": ["no", "yes"]}


def plain(value):
    """A value as JSON."""
    return value.tolist() if hasattr(value, "tolist") else list(map(plain, value)) if isinstance(value, (list, tuple)) else value


def data():
    """Columns to fit on (one of them constant), and others to scale."""
    random = np.random.RandomState(5)
    fitted = random.normal(size=(30, 4)) * [1, 12, 300, 0] + [0.3, -5, 70, 2.5]
    return fitted, random.normal(size=(6, 4)) * [2, 20, 500, 4]


def main():
    """Add the results of this Python's scikit-learn."""
    import sklearn
    from sklearn import preprocessing

    fitted, other = data()
    scalers, encoders = [], []
    for name, settings in SETTINGS:
        try:
            scaler = getattr(preprocessing, name)(**settings).fit(fitted)
        except TypeError:  # a setting that it does not have yet
            continue
        held = {key: plain(value) for key, value in vars(scaler).items()}
        results = {"transformed": plain(scaler.transform(other)), "inverted": plain(scaler.inverse_transform(other))}
        scalers.append({"class": name, "attributes": held, **results})
    for name in ("LabelEncoder", "LabelBinarizer", "OneHotEncoder"):
        for labels in LABELS.values():
            encoder = getattr(preprocessing, name)().fit([[label] for label in labels] if name == "OneHotEncoder" else labels)
            known = encoder.categories_[0] if name == "OneHotEncoder" else encoder.classes_
            encoders.append({"class": name, "labels": plain(known), "categories": name == "OneHotEncoder"})
    everything = {}
    if os.path.exists(sys.argv[1]):
        with open(sys.argv[1]) as file:
            everything = json.load(file)
    everything[sklearn.__version__] = {"scalers": scalers, "encoders": encoders}
    with open(sys.argv[1], "w") as file:
        json.dump({"fitted": plain(fitted), "other": plain(other), **everything}, file, separators=(",", ":"))


if __name__ == "__main__":
    main()
