"""What a file of weights alone lists: its layers in order, the names and shapes of their arrays. No array is read.

Five layouts become one: numbers alone (Keras 0), ``layer_names`` and ``weight_names`` (Keras 1 to 3), the tree of ``.weights.h5``, and
the same tree in parts. The first three list all layers in the model's order, also those without arrays. In a tree the order is lost, as
HDF5 sorts by name; where the objects stand in the file tells in which order they were written, see ``written``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ...limits import Budget
from ..reading.hdf5 import Group
from ..reading.tree import GENERATORS, LAYERS, in_order, is_tree
from .listed import Array, Inventory, Listed

#: Layers that a model may have, and arrays that a layer may.
MOST = 10_000
#: Groups at the root of a tree that are no layers.
BESIDE = ("optimizer", "optimizer_weights", "metrics", "loss_tracker", "vars")


def is_weights(root: Group) -> bool:
    """Whether an HDF5 file without a model's config holds weights, in a layout of Keras."""
    return root.names("layer_names") is not None or root.attribute("nb_layers") is not None or "graph" in root or is_tree(root)


def inventory(roots: Sequence[Group], budget: Budget) -> Inventory:
    """List what a file holds, or several that are the parts of one."""
    root = roots[0]
    if len(roots) > 1 or is_tree(root):
        return of_tree(roots, budget)
    version, backend = root.text("keras_version") or "", root.text("backend") or ""
    if root.attribute("nb_layers") is not None or "graph" in root:
        return Inventory(tuple(numbered(root, budget)), "numbers", version or "0.3.3", backend)
    return Inventory(tuple(named(root, budget)), "names", version, backend)


def numbered(root: Group, budget: Budget) -> Iterator[Listed]:
    """The layers of the oldest layout, which has no names."""
    if "graph" in root:
        raise root.error("the weights of a Graph of Keras 0, in no order that tells its layers; pass architecture=")
    for number in range(count(root, "nb_layers")):
        budget.visit("its layers")
        group = root.group(f"layer_{number}")
        arrays = (outlined(group, f"param_{place}", str(place)) for place in range(count(group, "nb_params")))
        yield Listed(f"layer_{number}", tuple(arrays))


def count(group: Group, name: str) -> int:
    """A number of members that an attribute states."""
    try:
        found = int(group.attribute(name))
    except (TypeError, ValueError, OverflowError) as error:
        raise group.error(f"attribute {name}: expected a number of members") from error
    if not 0 <= found <= MOST:
        raise group.error(f"attribute {name}: expected a number of members up to {MOST}, found {found}")
    return found


def outlined(group: Group, key: str, name: str) -> Array:
    """One array."""
    shape, dtype, _ = group.outline(key)
    return Array(name, shape, dtype)


def named(root: Group, budget: Budget) -> Iterator[Listed]:
    """The layers that ``layer_names`` lists."""
    names = root.names("layer_names") or []
    if len(names) > MOST or len(set(names)) < len(names):
        raise root.error(f"layer_names: expected up to {MOST} names, each once")
    for name in names:
        budget.visit("its layers")
        budget.name("a layer", name)
        group = root.group(name)
        keys = group.names("weight_names") or []
        if len(keys) > MOST or len(set(keys)) < len(keys):
            raise group.error(f"weight_names: expected up to {MOST} names, each once")
        yield Listed(name, tuple(outlined(group, key, re.sub(r":\d+$", "", key)) for key in keys))


# -- trees ----------------------------------------------------------------------------------------------------------------


class Branch:
    """What stands below one layer of a tree: its arrays, models in it, and where in the file they end."""

    def __init__(self) -> None:
        self.arrays: list[tuple[str, Array]] = []
        self.models: dict[str, list[Listed]] = {}
        self.name = ""
        self.last = 0


def of_tree(roots: Sequence[Group], budget: Budget) -> Inventory:
    """The layers of a ``.weights.h5``, or of its parts, one after the other."""
    found: dict[str, Listed] = {}
    dialect, name = "", ""
    for root in roots:
        key = next((key for key in LAYERS if key in root), None)
        if key is None:
            if any("\\" in member for member in root.members()):
                raise root.error("its groups were named on Windows, with backslashes, which tells no order; pass architecture=")
            continue
        if "vars" in root:
            name = name or root.group("vars").text("name") or ""
        dialect = dialect or ("tf.keras" if key != LAYERS[0] else "Keras 3" if name else "")
        for place, layer in container(root.group(key), budget, 1):
            before = found.get(place)
            if before is not None and layer.arrays and before.arrays:
                layer = layer._replace(arrays=(*before.arrays, *layer.arrays))
            if before is None or layer.arrays or layer.layers:
                found[place] = layer
    return Inventory(tuple(found.values()), "tree", "", "", name, dialect)


def container(group: Group, budget: Budget, depth: int) -> list[tuple[str, Listed]]:
    """The layers of a model, in the order in which they were written."""
    budget.deep(f"{group.place:.80}", depth)
    members = group.members()
    if len(members) > MOST:
        raise group.error(f"{len(members)} layers, more than {MOST}")
    found = []
    for key in members:
        budget.visit("its layers")
        inner, branch = group.group(key), Branch()
        explore(inner, "", branch, budget, depth)
        arrays = tuple(array for _, array in sorted(branch.arrays, key=lambda one: (one[0], in_order(one[1].name.rsplit("/", 1)[-1]))))
        kind = re.sub(r"_\d+$", "", key)
        layers = tuple(layer for models in branch.models.values() for layer in models)
        found.append((branch.last, key, Listed(branch.name or key, arrays, kind, layers)))
    return [(key, layer) for _, key, layer in sorted(found, key=lambda one: one[0])]


def explore(group: Group, path: str, branch: Branch, budget: Budget, depth: int) -> None:
    """Note what is below a group. The last address counts: what is written into freed space stands too early, never too late."""
    budget.deep(f"{group.place:.80}", depth + path.count("/"))
    branch.last = max(branch.last, group.address)
    for key in group.members():
        budget.visit("its groups")
        here = f"{path}/{key}" if path else key
        if key in GENERATORS:
            continue
        if path.rsplit("/", 1)[-1] == "vars":
            shape, dtype, address = group.outline(key)
            branch.arrays.append((path, Array(here, shape, dtype)))
            branch.last = max(branch.last, address)
        elif key in LAYERS:
            inner = group.group(key)
            branch.models[path] = [layer for _, layer in container(inner, budget, depth + 1)]
            branch.last = max(branch.last, inner.address)
        else:
            inner = group.group(key)
            if here == "vars":
                branch.name = inner.text("name") or ""
            explore(inner, here, branch, budget, depth)
