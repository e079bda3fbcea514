"""docs/add-a-layer.md: its code is the package's, and adds the layer to a package that lacks it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from keras_configs import entrance, functional, write_h5

import fastlstm
from fastlstm import operations
from fastlstm.errors import UnsupportedError
from fastlstm.formats.reading import operations as reading

REPOSITORY = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
PAGE = REPOSITORY / "docs" / "add-a-layer.md"
ROW, CLASS, COMPARISON, LOWER, OPERATION = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
#: Takes the layer out, shows that its file is refused, and puts it in again as the page does.
RUN = """
import fastlstm.catalogue as catalogue, fastlstm.layers.pooling as pooling
from fastlstm.errors import UnsupportedError

row, code, comparison = {parts!r}
for name in pooling.AdaptiveAveragePooling.CLASSES:
    del catalogue.ROWS[name]
del pooling.AdaptiveAveragePooling
try:
    exec(comparison, {{}})
except UnsupportedError as error:
    assert "layers of class AdaptiveAveragePooling1D are not known" in str(error), error
else:
    raise AssertionError("the layer was not taken out")
names = dict(vars(catalogue))
exec("def rows():\\n" + row, names)
catalogue.ROWS.update({{one.name: one for one in names["rows"]()}})
exec(code, vars(pooling))
exec(comparison, {{}})
print("equal")
"""


def test_its_code_is_the_code() -> None:
    for code, path in ((ROW, "catalogue.py"), (CLASS, "layers/pooling.py"), (LOWER, "layers/core.py")):
        assert code in (REPOSITORY / "fastlstm" / path).read_text(encoding="utf-8")


@pytest.mark.keras
@pytest.mark.slow
def test_it_adds_the_layer(tmp_path: Path) -> None:
    pytest.importorskip("keras", minversion="3.15")
    code = RUN.format(parts=(ROW, CLASS, COMPARISON))
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.endswith("equal\n"), done.stderr


def test_an_operation_costs_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row of the page, put into the table: a file of Keras 3 that was refused is computed."""
    tensor = {"class_name": "__keras_tensor__", "config": {"shape": [None, 5, 4], "dtype": "float32", "keras_history": ["x", 0, 0]}}
    node = {"args": [tensor, 2.0], "kwargs": {}}
    layer = {"class_name": "Hypot", "name": "op", "config": {"name": "op"}, "inbound_nodes": [node]}
    path = write_h5(tmp_path / "m.h5", functional([entrance("x", 5, 4), layer], ["x", 0, 0], ["op", 0, 0]), {}, "3.15.0")
    with pytest.raises(UnsupportedError, match="the operation Hypot is not known"):
        fastlstm.load(path)
    scope = {name: value for module in (operations.elementwise, operations.rows) for name, value in vars(module).items()}
    monkeypatch.setitem(operations.OPERATIONS, "hypot", eval(OPERATION.strip(), scope))  # noqa: S307
    monkeypatch.setattr(reading, "KERAS3", operations.Names("keras3"))
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    np.testing.assert_array_equal(fastlstm.load(path).predict(x), np.hypot(x, np.float32(2)))
