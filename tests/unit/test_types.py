"""What type checkers know of the public names, and what ``dir`` lists."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import fastlstm

REPOSITORY = Path(__file__).parents[2]
CODE = """
import numpy as np
import fastlstm

x = np.zeros((1, 5, 3), np.float32)
model = fastlstm.load("model.h5")
reveal_type(model.predict(x))
reveal_type(model.predict({"a": x, "b": x}))
reveal_type(model(x))
reveal_type(model.predict_on_batch(x))
reveal_type(model.predict([x, x]))
reveal_type(model.predict(x, batch_size=4, verbose=0))
two: fastlstm.Model[list[np.ndarray]] = fastlstm.load("two.h5")
reveal_type(two.predict(x))
reveal_type(model.plot())
reveal_type(model.plot("model.svg"))
reveal_type(model.stream())
reveal_type(model.predict(iter([(x, x)]), steps=2))
mean = model.predict(x).mean(axis=0)
first, second = model.predict(x)
named = model.predict(x)["name"]
def anything(m: fastlstm.Model) -> None:
    m.predict(x).whatever()
"""
ANY_ARRAY = r"numpy\.ndarray\[.*\] \| Any"
REVEALED = [
    ANY_ARRAY, ANY_ARRAY, ANY_ARRAY, ANY_ARRAY, "Any", ANY_ARRAY, r"(builtins\.)?list\[numpy\.ndarray\[.*\]\]", "(builtins\\.)?str", "None",
    r"fastlstm\.stream\.Stream", "Any",
]  # fmt: skip


@pytest.mark.slow
def test_what_an_editor_knows(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="the types are checked by mypy, of the extra test")
    import re

    (tmp_path / "user.py").write_text(CODE)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file=",
        "--check-untyped-defs",
        "--cache-dir",
        str(tmp_path),
        str(tmp_path / "user.py"),
    ]
    done = subprocess.run([*command, "--follow-imports=silent"], cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300)
    assert "error" not in done.stdout, done.stdout
    found = re.findall(r'Revealed type is "(.*)"', done.stdout)
    assert len(found) == len(REVEALED)
    for shown, expected in zip(found, REVEALED):
        assert re.fullmatch(expected, shown), (shown, expected)


def test_dir_lists_the_public_names() -> None:
    assert dir(fastlstm) == sorted(fastlstm.__all__)
    assert all(hasattr(fastlstm, name) for name in dir(fastlstm))


def test_models_with_a_type_are_models() -> None:
    assert isinstance(fastlstm.load(REPOSITORY / "fastlstm" / "data" / "sunspots.h5"), fastlstm.Model)
    assert "Model[" in repr(fastlstm.Model[int])
