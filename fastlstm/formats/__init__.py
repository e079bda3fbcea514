"""From bytes to a :class:`fastlstm.spec.ModelSpec`: everything Keras ever saved, one file for each family of formats.

A format is a module with ``sniff(head, name) -> bool`` and ``read(source, budget, *, architecture, by_name) -> ModelSpec``.
The bytes of a file tell what it is; its name is only used in explanations.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import lazy
from ..errors import FormatError
from ..limits import Budget
from ..spec import ModelSpec
from . import own
from .source import Source, source_of

if TYPE_CHECKING:
    from . import archive, explain, h5, saved_model
    from .inferring import listed
    from .inferring.listed import Inventory
else:  # neither importing fastlstm nor reading its own files imports h5py
    archive, explain, h5, saved_model = map(
        lazy.module,
        ("fastlstm.formats.archive", "fastlstm.formats.explain", "fastlstm.formats.h5", "fastlstm.formats.saved_model"),
    )
    listed = lazy.module("fastlstm.formats.inferring.listed")

HEAD = 4096


def read(path: Any, *, architecture: Any = None, by_name: bool = False, budget: Budget | None = None) -> ModelSpec:
    """Read a model of any known format.

    Parameters
    ----------
    path
        The file: its path, its bytes, a file opened with "rb", or an h5py.File. Or the path of a folder that Keras 3 wrote, of a
        SavedModel folder, of a TensorFlow checkpoint or of the index of weights in parts.
    architecture
        For files of weights alone: the model's JSON, a path to it, or a dict; or a Source that holds that file's bytes.
    by_name
        Pair layers and weights by name instead of order.
    budget
        The limits on what reading it may cost; by default those of any file of its size.

    Raises
    ------
    FormatError
        If the file is damaged, hostile or of no known format.
    InputError
        If ``path`` is not something that can be read from.
    """
    source = source_of(path)
    budget = budget or Budget(source.name, source.size)
    source = source if source.apart else source.gathered(budget)
    spec = reader(source)(source, budget, architecture=architecture, by_name=by_name)
    budget.survey(spec)
    return spec


def inventory(path: Any, budget: Budget) -> Inventory:
    """List the layers and arrays of a file of weights alone; the arguments are those of :func:`read`.

    Raises
    ------
    FormatError
        If it is damaged, hostile, or no file of weights alone.
    """
    source = source_of(path).gathered(budget)
    module = family(source)
    if module is own:
        raise FormatError(f"{source.name}: {listed.LISTED_OWN}")
    found: Inventory = module.listed(source, budget)
    return found


def reader(source: Source) -> Callable[..., ModelSpec]:
    """Return the function that reads a file."""
    read: Callable[..., ModelSpec] = family(source).read
    return read


def family(source: Source) -> Any:
    """Return the module that reads a file, chosen by its first bytes."""
    if source.handle is not None:
        return h5
    if source.apart:
        return saved_model
    refuse_other_than_files(source)
    with source.open() as stream:
        try:
            head = stream.read(HEAD)
        except OSError as error:
            raise FormatError(f"{source.name}: cannot be read ({error.strerror})") from error
    if own.sniff(head, source.name):
        return own
    for module in (saved_model, archive, h5):
        if module.sniff(head, source.name):
            return module
    raise FormatError(f"{source.name}: {explain.explain(source, head)}")


def refuse_other_than_files(source: Source) -> None:
    """Refuse a folder, a pipe or a device: none is a model, and none may be opened.

    Raises
    ------
    FormatError
        Which says what it is.
    """
    if source.path is not None and os.path.isdir(source.path):
        raise FormatError(f"{source.name}: {explain.explain_folder(source.path)}")
    if source.path is not None and os.path.exists(source.path) and not os.path.isfile(source.path):
        raise FormatError(f"{source.name}: not a format that fastlstm reads: a pipe or a device; save what it gives as a file")


__all__ = ["Source", "inventory", "own", "read", "refuse_other_than_files", "source_of"]
