"""An example of each layer, as tools/layer_table.py has them: the tool is a script, in no package."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

REPOSITORY = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())


def layer_table() -> ModuleType:
    """The tool as a module."""
    return tool("layer_table")


def tool(name: str) -> ModuleType:
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
