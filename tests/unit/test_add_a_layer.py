"""docs/add-a-layer.md: its code is the package's, and adds the layer to a package that lacks it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
PAGE = REPOSITORY / "docs" / "add-a-layer.md"
ROW, CLASS, COMPARISON, LOWER = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
#: Takes the layer out, shows that its file is refused, and puts it in again as the page does.
RUN = """
import fastlstm.catalogue as catalogue, fastlstm.layers.pooling as pooling
from fastlstm.errors import UnsupportedError
from fastlstm.layers import REGISTRY

row, code, comparison = {parts!r}
for name in pooling.AdaptiveAveragePooling.CLASSES:
    del catalogue.ROWS[name], REGISTRY[name]
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
