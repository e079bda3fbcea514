"""Models that stand in several files: a folder that Keras 3 wrote with ``zipped=False``, weights in parts with their index, a SavedModel
folder, a TensorFlow checkpoint.

They are gathered into one archive, for a folder the ``.keras`` file that Keras would have written. So they are read as any other file is,
in a process of their own too, which is given bytes and opens nothing.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .. import lazy
from ..errors import FormatError
from ..limits import GROUP_DEPTH, TEXT, Budget
from .reading.jsontext import parse_json

if TYPE_CHECKING:
    import zipfile
else:
    zipfile = lazy.module("zipfile")

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
#: The folder of what layers keep beside their arrays, in SavedModels too.
ASSETS = "assets/"
#: ... of those that look terms up.
VOCABULARY = "vocabulary.txt"
#: The name in the archive of the list of what weights each part holds.
INDEX = "model.weights.json"
#: What gives such a list away, near its beginning.
INDEX_KEY = "weight_map"
PART = ".weights.h5"
#: The files of a SavedModel, and its checkpoint.
SAVED_MODEL, KERAS_METADATA = "saved_model.pb", "keras_metadata.pb"
VARIABLES = "variables/variables"
#: The name in the archive of a checkpoint that stands alone, and the file that names the latest one of a folder.
TRACKED, LATEST = "checkpoint", "checkpoint"
LATEST_NAME = re.compile(rb'^model_checkpoint_path: "([^"\n]+)"', re.MULTILINE)
#: What stands first among the files of models that need not be gathered.
APART = (SAVED_MODEL, f"{TRACKED}.index")
DATA = re.compile(r"\.data-\d{5}-of-\d{5}$")
#: Parts that a list may name.
PARTS = 10_000
HEAD = 4096
#: Opened so, a pipe that has taken the place of a file is not waited for.
FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def files_of(path: str) -> Mapping[str, str]:
    """The files of a model that stands in several, by their names in the archive; none if ``path`` is no such model.

    Raises
    ------
    FormatError
        If it is a damaged or hostile one.
    """
    if os.path.isdir(path):
        return of_saved_model(path) or of_folder(path) or of_latest(path)
    folder, name = os.path.split(path)
    if name in (SAVED_MODEL, KERAS_METADATA):
        return of_saved_model(folder)
    if name == LATEST:
        return of_latest(folder)
    if name.endswith(".index") or DATA.search(name):
        return of_checkpoint(re.sub(r"\.(index|data-\d{5}-of-\d{5})$", "", path))
    if is_index(beginning(path)):
        return of_index(path)
    return {} if os.path.lexists(path) else of_checkpoint(path)


def of_saved_model(path: str) -> dict[str, str]:
    """The files of a SavedModel folder that are read: what stands first tells what the archive is."""
    found = {name: os.path.join(path, name) for name in (SAVED_MODEL, KERAS_METADATA)}
    if not os.path.lexists(found[SAVED_MODEL]):
        return {}
    beside = bundle(os.path.join(path, *VARIABLES.split("/")), VARIABLES)
    assets = os.path.join(path, ASSETS.rstrip("/"))
    found.update({f"{ASSETS}{name}": os.path.join(assets, name) for name in names_in(assets)})
    return {name: file for name, file in found.items() if os.path.lexists(file)} | beside


def of_latest(path: str) -> Mapping[str, str]:
    """The latest checkpoint of a folder, which a file in it names."""
    named = LATEST_NAME.search(beginning(os.path.join(path, LATEST)))
    if named is None:
        return {}
    try:
        name = named[1].decode("utf-8").replace("\\", "/").rsplit("/", 1)[-1]  # a path on the machine where it was written
    except UnicodeDecodeError:
        return {}
    return of_checkpoint(os.path.join(path, name))


def of_checkpoint(path: str) -> Mapping[str, str]:
    """The files of a checkpoint whose name this is."""
    found = bundle(path, TRACKED)
    return found if f"{TRACKED}.index" in found else {}


def bundle(path: str, name: str) -> dict[str, str]:
    """The index of a bundle and its data, by the names that they have in the archive."""
    folder, prefix = os.path.split(path)
    known = [one for one in names_in(folder or ".") if one.startswith(prefix) and prefix]
    kept = [one for one in known if one[len(prefix) :] == ".index"]  # the first one
    kept += [one for one in known if DATA.fullmatch(one, len(prefix))]
    return {name + one[len(prefix) :]: os.path.join(folder, one) for one in kept}


def names_in(folder: str) -> list[str]:
    """The names of what is in a folder, in order, but for folders; none where there is no folder."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(one.name for one in entries if not one.is_dir(follow_symlinks=False))
    except (OSError, ValueError):  # ValueError: no path can be so
        return []
    if len(found) > PARTS:
        raise FormatError(f"{folder}: a folder of {len(found)} files; models of more than {PARTS} are not read")
    return found


def of_folder(path: str) -> Mapping[str, str]:
    """The files of a folder of Keras 3."""
    found = {name: os.path.join(path, name) for name in (CONFIG, METADATA, WEIGHTS)}
    if not all(os.path.lexists(found[name]) for name in (CONFIG, WEIGHTS)):
        return {}
    return {name: file for name, file in {**found, **vocabularies_in(path)}.items() if os.path.lexists(file)}


def vocabularies_in(path: str) -> Mapping[str, str]:
    """The vocabularies in a folder of Keras 3, by their names in the archive; no link is followed."""
    found: dict[str, str] = {}
    top = os.path.join(path, ASSETS.rstrip("/"))
    for folder, inside, names in os.walk(top):
        depth = os.path.relpath(folder, top).count(os.sep)
        if depth > GROUP_DEPTH or len(found) > PARTS:
            raise FormatError(f"{path}: {ASSETS} has more in it than any model's folder")
        inside[:] = sorted(inside)
        if VOCABULARY in names:
            file = os.path.join(folder, VOCABULARY)
            found[os.path.relpath(file, path).replace(os.sep, "/")] = file
    return found


def beginning(path: str) -> bytes:
    """The first bytes of a regular file; nothing of what cannot be read."""
    try:
        if not os.path.isfile(path):
            return b""
        with open(path, "rb") as stream:
            return stream.read(HEAD)
    except (OSError, ValueError):  # ValueError: no path can be so
        return b""


def is_index(head: bytes) -> bool:
    """Whether a file that begins so lists the parts of a model's weights."""
    return head.lstrip().startswith(b"{") and f'"{INDEX_KEY}"'.encode() in head


def of_index(path: str) -> Mapping[str, str]:
    """A list of parts, and the parts."""
    with Budget(path, size_of(path, path)) as budget:
        data, folder = content(path, path, budget, TEXT), os.path.dirname(path)
        try:
            names = parts(data.decode("utf-8"), path, budget)
        except UnicodeDecodeError as error:
            raise FormatError(f"{path}: the index of the weights is not UTF-8 text") from error
        return {INDEX: path, **{name: os.path.join(folder, name) for name in names}}


def parts(index: str, source: str, budget: Budget) -> list[str]:
    """The names of the parts that an index lists, each of which is a file beside it.

    Raises
    ------
    FormatError
        If it is no such list, or names what is no file in the same folder.
    """
    entry = parse_json(index, budget, "the index of the weights")
    found: dict[str, None] = {}
    for name in named(entry, source):
        if not name.endswith(PART) or any(mark in name for mark in '/\\:\0"'):
            raise FormatError(f"{source}: {INDEX_KEY} names {name[:200]!r}; parts are files *{PART} in the folder of the index itself")
        found[name] = None
    if not 0 < len(found) <= PARTS:
        raise FormatError(f"{source}: {INDEX_KEY} names {len(found)} parts; expected 1 to {PARTS}")
    return list(found)


def named(entry: Any, source: str) -> Iterator[str]:
    """The parts that an index names, again for each group of arrays."""
    places = entry.get(INDEX_KEY) if isinstance(entry, Mapping) else None
    if not isinstance(places, Mapping):
        raise FormatError(f"{source}: {INDEX_KEY}: expected an object that says where each group of arrays is")
    for place, files in places.items():
        listed = files if isinstance(files, list) else [files]
        if not all(isinstance(name, str) for name in listed):
            raise FormatError(f"{source}: {INDEX_KEY}: {place[:200]!r}: expected names of parts")
        yield from listed


def size_of(path: str, source: str) -> int:
    """The size of a regular file; anything else is refused."""
    return regular(path, source).st_size


def regular(path: str, source: str) -> os.stat_result:
    """Return what the system says of a regular file, and refuse anything else, a link too: it may lead anywhere."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FormatError(f"{source}: its file {os.path.basename(path)} cannot be read ({reason})") from error
    if not stat.S_ISREG(found.st_mode):
        what = "a link, which is never followed; put the file itself there" if stat.S_ISLNK(found.st_mode) else "no regular file"
        raise FormatError(f"{source}: {os.path.basename(path)} is {what}")
    return found


def content(path: str, source: str, budget: Budget, most: int | None = None) -> bytes:
    """The bytes of a regular file."""
    expected = regular(path, source)
    place, size = os.path.basename(path), expected.st_size
    if most is not None and size > most:
        raise FormatError(f"{source}: {place} has {size} bytes, more than {most}")
    budget.hold(place, size)
    try:
        with open(os.open(path, FLAGS), "rb") as stream:
            data = stream.read(size + 1) if os.path.samestat(os.fstat(stream.fileno()), expected) else b""
    except OSError as error:
        raise FormatError(f"{source}: its file {place} cannot be read ({error.strerror})") from error
    if len(data) != size:
        raise FormatError(f"{source}: {place} changed while it was read")
    return data


def archive(files: Mapping[str, str], source: str, budget: Budget) -> bytes:
    """One archive of several files, each as it is; of the same files, the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        for name, path in files.items():
            data = content(path, source, budget, TEXT if name.endswith(".json") else None)
            budget.hold(f"{name} in an archive", len(data))
            packed.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()
