"""SavedModel folders of tf.keras 2 and tf_keras, and TensorFlow checkpoints of weights alone; the folder, or a zip of it.

Of ``saved_model.pb`` the graph of objects is read, and the Keras config, where ``keras_metadata.pb`` does not have it (TensorFlow 2.0 to
2.4). No graph of operations is ever run: the config says what the layers are, and the checkpoint in ``variables`` holds their arrays.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

from ..errors import FormatError, Problem, UnsupportedError
from ..limits import TEXT, Budget
from ..spec import ModelSpec
from . import several
from .inferring.listed import LISTED_OWN
from .reading import wire, zipped
from .reading.architecture import load_architecture
from .reading.bundle import Bundle
from .reading.compiled import compiled
from .reading.config import Reader
from .reading.dialect import Dialect, dialect, version_numbers
from .reading.draft import ModelDraft
from .reading.jsontext import parse_json
from .reading.objectgraph import KEY, Node, graph, preview
from .reading.tables import Lookups, Saved, saved_graph
from .reading.tracked import Filler, is_model
from .reading.weights import finish
from .reading.wire import whole
from .several import ASSETS, KERAS_METADATA, SAVED_MODEL, TRACKED, VARIABLES
from .source import Source

#: How the local header of a zip's first member begins, and where its name and the length of that stand.
ZIP, LENGTH, NAME = b"PK\x03\x04", 26, 30
#: Characters of a version.
VERSION = 40
#: Fields of messages: SavedModel; MetaGraphDef and its MetaInfoDef; SavedObject and its SavedUserObject; SavedMetadata.
META_GRAPHS, META_INFO, TENSORFLOW = 2, 1, 5
USER_OBJECT, USER_METADATA = 4, 3
METADATA_NODES, METADATA_NODE, METADATA_TEXT = 1, 2, 5
#: The classes of what SavedModels write as objects, and all other files as lists.
AS_LISTS = ("__tuple__", "TensorShape")
#: What to do about files that hold no layers.
SAVE_AGAIN = (
    "load it in the program that made it, and save the Keras model itself: model.save('model.h5') or model.save('model.keras'); or "
    "model.save_weights('weights.h5') with architecture='model.json', which holds model.to_json()"
)


class Files:
    """The files of a model by their names in its folder: where they lie, or in an archive."""

    def __init__(self, source: Source, names: Container[str], content: Callable[[str], bytes]):
        self._source, self._names, self._content = source, names, content

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def data(self, name: str) -> memoryview:
        """The bytes of a file."""
        if name not in self:
            raise FormatError(
                f"{self._source.name}: its file {name:.200} is not there; the whole folder is needed, and no part of it alone"
            )
        return memoryview(self._content(name))

    def asset(self, name: str) -> memoryview:
        """The bytes of a file in ``assets``."""
        return self.data(ASSETS + name)


@contextmanager
def opened(source: Source, budget: Budget) -> Iterator[Files]:
    """The files of a model."""
    if source.apart:
        yield Files(source, source.files, lambda name: several.content(source.files[name], source.name, budget))
        return
    with zipped.opened(source, "archive") as archive:
        members = zipped.directory(archive, source.name)
        prefix = within(members) or ""
        inside = {name[len(prefix) :]: info for name, info in members.items() if name.startswith(prefix)}
        yield Files(source, inside, lambda name: zipped.member(archive, inside[name], source, budget))


class Config(NamedTuple):
    """What a SavedModel says of the Keras model that it was."""

    entry: Mapping[str, Any]
    version: str | None
    backend: str | None
    training: Any


def sniff(head: bytes, name: str) -> bool:
    """Whether a file that begins so is an archive that such files were gathered into."""
    if not head.startswith(ZIP) or len(head) < NAME:
        return False
    (length,) = struct.unpack_from("<H", head, LENGTH)
    return head[NAME : NAME + length] in (SAVED_MODEL.encode(), f"{TRACKED}.index".encode())


def within(members: Mapping[str, Any]) -> str | None:
    """The folder in an archive that is a SavedModel ("" where it is the archive itself); None if there is none, or several."""
    found = [name[: -len(SAVED_MODEL)] for name in members if name.rsplit("/", 1)[-1] == SAVED_MODEL]
    return found[0] if len(found) == 1 else None


def read(source: Source, budget: Budget, *, architecture: Any = None, by_name: bool = False) -> ModelSpec:
    """The model of a SavedModel folder, or of a checkpoint and an architecture."""
    path = source.name
    with opened(source, budget) as files:
        if SAVED_MODEL not in files:
            return from_checkpoint(files, path, budget, architecture)
        with whole(path, SAVED_MODEL):
            meta = meta_graph(files.data(SAVED_MODEL))
            nodes = saved_graph(meta, budget)
            info = wire.bytes_of(meta, META_INFO)
            version = wire.text_of(info, TENSORFLOW)[:VERSION] if info is not None else ""
        if architecture is None:
            found = config_of(files, nodes, path, version, budget)
            kind = "SavedModel"
        else:
            found, kind = given_config(architecture, path, budget), "SavedModel + architecture"
        understood = dialect(found.version, found.backend, found.entry, kind, tensorflow=version_numbers(version))
        model = Reader(budget, understood).root(found.entry)
        model.compiled = compiled(found.training)
        fill(model, understood, VARIABLES, files, budget, Saved(meta, nodes, files.asset, budget))
        return finish(model, understood, budget)


def listed(source: Source, budget: Budget) -> NoReturn:
    """Refuse to list the layers and arrays: a SavedModel says what its layers are, and of checkpoints nobody infers them.

    Raises
    ------
    FormatError
        Always.
    """
    with opened(source, budget) as files:
        whole_model = SAVED_MODEL in files
    if whole_model:
        raise FormatError(f"{source.name}: {LISTED_OWN}")
    raise FormatError(
        f"{source.name}: a TensorFlow checkpoint, of which no architecture is drafted; write its weights with "
        "model.save_weights('weights.h5'), and draft that of 'weights.h5'"
    )


def from_checkpoint(files: Files, path: str, budget: Budget, architecture: Any) -> ModelSpec:
    """The model of an architecture, its weights in a checkpoint."""
    if architecture is None:
        raise FormatError(
            f"{path}: a TensorFlow checkpoint, which holds weights alone; pass architecture= (the JSON of model.to_json(), or a path to it)"
        )
    found = given_config(architecture, path, budget)
    understood = dialect(found.version, found.backend, found.entry, "TensorFlow checkpoint + architecture")
    model = Reader(budget, understood).root(found.entry)
    fill(model, understood, TRACKED, files, budget, None)
    return finish(model, understood, budget)


def given_config(architecture: Any, path: str, budget: Budget) -> Config:
    """An architecture that was given."""
    entry = load_architecture(architecture, budget)
    if not isinstance(entry, Mapping):
        raise FormatError(f"{path}: architecture: expected an object with class_name and config, found {type(entry).__name__}")
    version, backend = (value if isinstance(value := entry.get(key), str) else None for key in ("keras_version", "backend"))
    return Config(entry, version, backend, None)


def fill(model: ModelDraft, understood: Dialect, name: str, files: Files, budget: Budget, saved: Saved | None) -> None:
    """Give a model the arrays of a checkpoint.

    Raises
    ------
    FormatError
        If it is damaged, or of another model or Keras.
    """
    path = budget.source
    if understood.keras3 or understood.keras1:
        version = "3" if understood.keras3 else "1"
        what = f"a TensorFlow checkpoint, and an architecture of Keras {version}, which does not write such"
        raise FormatError(f"{path}: {what}; {SAVE_AGAIN}")
    bundle = Bundle(path, name, files.data, budget)
    if KEY not in bundle:
        raise FormatError(f"{path}: {name}: a checkpoint of TensorFlow 1, which knows variables by their names alone; {SAVE_AGAIN}")
    place = f"{name}: {KEY}"
    with whole(path, place):
        found = bundle.strings(KEY)
        if len(found) != 1:
            raise wire.DamagedError(f"{len(found)} graphs")
        nodes = graph(memoryview(found[0]), budget, place)
    Filler(nodes, bundle, Lookups(nodes, bundle, saved).fill).fill(model, model_node(nodes, path, name))


def model_node(nodes: list[Node], path: str, name: str) -> int:
    """The object that is the model: the first one, or the only one that the first one holds, as ``tf.train.Checkpoint(model=...)`` does."""
    if is_model(nodes, 0):
        return 0
    held = {child for child in nodes[0].children.values() if is_model(nodes, child)}
    if len(held) != 1:
        what = f"expected the layers of one Keras model, found {len(held)} models among {preview(nodes[0])}"
        raise FormatError(f"{path}: {name}: {what}; {SAVE_AGAIN}")
    return held.pop()


# -- what saved_model.pb and keras_metadata.pb say --------------------------------------------------------------------------


def meta_graph(data: memoryview) -> memoryview:
    """The first meta graph of a SavedModel."""
    found = next(wire.every(data, META_GRAPHS), None)
    if found is None:
        raise wire.DamagedError("it holds no graph")
    return found


def config_of(files: Files, nodes: list[Node], path: str, tensorflow: str, budget: Budget) -> Config:
    """The Keras config of a SavedModel.

    Raises
    ------
    UnsupportedError
        If it has none.
    """
    text = root_metadata(files, nodes, path)
    metadata = parse_json(text, budget, KERAS_METADATA if KERAS_METADATA in files else SAVED_MODEL) if text else {}
    if not isinstance(metadata, dict):
        raise FormatError(f"{path}: {SAVED_MODEL}: the metadata of the model: expected an object, found {type(metadata).__name__}")
    untupled(metadata)
    entry = metadata.get("model_config")
    if not isinstance(entry, Mapping) and isinstance(metadata.get("config"), Mapping) and "layers" in metadata["config"]:
        entry = {key: metadata[key] for key in ("class_name", "config") if key in metadata}
    if not isinstance(entry, Mapping):
        raise UnsupportedError(path, (Problem("", "", what_it_is(metadata, nodes, tensorflow), SAVE_AGAIN),))
    version, backend = (value if isinstance(value := metadata.get(key), str) else None for key in ("keras_version", "backend"))
    return Config(entry, version, backend, metadata.get("training_config"))


def what_it_is(metadata: Mapping[str, Any], nodes: list[Node], tensorflow: str) -> str:
    """What a SavedModel without a config of layers is."""
    kind = metadata.get("class_name")
    if isinstance(kind, str):
        return f"the model is of the class {kind[:80]!r}, whose graph is in Python code, not in the file"
    written = f"a SavedModel of TensorFlow {tensorflow or 'of unknown version'} without a Keras config"
    if not nodes:
        return f"{written}: of TensorFlow 1 or of an Estimator, a graph of operations alone"
    return f"{written}: export() of Keras 3 and tf.saved_model.save() of a Module write a graph of operations, and no layers"


def root_metadata(files: Files, nodes: list[Node], path: str) -> str:
    """The JSON that describes the first object of a SavedModel; empty where there is none."""
    if KERAS_METADATA in files:
        with whole(path, KERAS_METADATA):
            for each in wire.every(files.data(KERAS_METADATA), METADATA_NODES):
                if wire.number_of(each, METADATA_NODE) == 0:
                    return bounded(wire.bytes_of(each, METADATA_TEXT))
        return ""
    with whole(path, SAVED_MODEL):
        user = wire.bytes_of(nodes[0].data, USER_OBJECT) if nodes else None
        return "" if user is None else bounded(wire.bytes_of(user, USER_METADATA))


def bounded(data: memoryview | None) -> str:
    """Text of a model's config."""
    if data is not None and len(data) > TEXT:
        raise wire.DamagedError(f"a config of {len(data)} bytes, more than {TEXT}")
    return wire.text(data)


def untupled(metadata: dict[str, Any]) -> None:
    """Make lists of what is a list in every other file: ``{"class_name": "__tuple__", "items": [...]}``."""
    waiting: list[Any] = [metadata]
    while waiting:
        here = waiting.pop()
        for key, value in list(here.items() if isinstance(here, dict) else enumerate(here)):
            while isinstance(value, dict) and value.get("class_name") in AS_LISTS and isinstance(value.get("items"), list):
                value = here[key] = value["items"]
            if isinstance(value, (dict, list)):
                waiting.append(value)
