"""Packed weights that are kept in files: the same numbers, whatever is wrong with a file, a folder or the disk."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5_files
import numpy as np
import pytest

import fastlstm
from fastlstm import caching
from fastlstm.errors import InputError
from fastlstm.program.layout import ALIGNMENT

X = np.random.default_rng(1).integers(0, 40, (3, 7))
POSIX = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no owners and modes")
#: Loads a model in a process of its own and prints whether it was mapped, and a digest of what it predicts.
LOADED = """
import hashlib, sys, numpy as np, fastlstm
model = fastlstm.load(sys.argv[1], cache=None if sys.argv[2] == "None" else sys.argv[2] == "True")
kept = model.executor.constants.kept
x = np.random.default_rng(1).integers(0, 40, (3, 7))
print(bool(kept and kept.mapped), hashlib.sha256(model.predict(x).tobytes()).hexdigest())
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that is used, with models that were written just now and are small kept too."""
    monkeypatch.setenv("FASTLSTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(caching, "SETTLED", -1e9)
    monkeypatch.setattr(caching, "LEAST_BYTES", 1)
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of which several layers pack weights of the same names."""
    rng = np.random.default_rng(0)
    inner = h5_files.recurrent("GRU", 6, 8, rng, return_sequences=True)
    other = h5_files.recurrent("GRU", 6, 8, rng, return_sequences=True)
    layers = [
        h5_files.embedding(40, 5, rng),
        h5_files.recurrent("LSTM", 8, 5, rng, return_sequences=True),
        h5_files.recurrent("LSTM", 8, 8, rng, return_sequences=True),
        h5_files.bidirectional(inner, other.weights),
        h5_files.stacked(["LSTM", "LSTM"], [5, 5], 12, rng),
        h5_files.dense(9, 5, rng),
        h5_files.dense(9, 9, rng),
    ]
    h5_files.save(tmp_path / "m.h5", layers, (None,))
    fastlstm.convert(tmp_path / "m.h5", tmp_path / "m.fastlstm")
    return tmp_path / "m.fastlstm"


def is_mapped(model: fastlstm.Model) -> bool:
    kept = model.executor.constants.kept
    return kept is not None and bool(kept.mapped)


def the_file(folder: Path) -> Path:
    (found,) = folder.glob(f"*{caching.SUFFIX}")
    return found


def test_the_same_numbers_from_the_file(model: Path, folder: Path) -> None:
    plain = fastlstm.load(model, cache=False)
    assert not folder.exists()
    first = fastlstm.load(model)
    again = fastlstm.load(model)
    assert not is_mapped(first)
    assert is_mapped(again)
    for one in (first, again):
        np.testing.assert_array_equal(one.predict(X), plain.predict(X))
        np.testing.assert_array_equal(one.predict(X[:1, :3]), plain.predict(X[:1, :3]))  # a Program of other shapes
    arrays = again.executor.constants.arrays
    assert len(arrays) == len(plain.executor.constants.arrays)
    assert all(not array.flags.writeable and array.ctypes.data % ALIGNMENT == 0 for array in arrays.values())
    assert all(not array.flags.writeable for layer in again.spec.layers for array in layer.weights)


def test_threads_and_fold_limit(model: Path, folder: Path) -> None:
    """What is not kept is made, and nothing stands for something else."""
    fastlstm.load(model)
    for options in ({"fold_limit": 0}, {"threads": 2}, {"precision": "float64"}):
        plain = fastlstm.load(model, cache=False, **options).predict(X)
        np.testing.assert_array_equal(fastlstm.load(model, **options).predict(X), plain)


def test_verify_looks_at_the_model_itself(model: Path, folder: Path) -> None:
    fastlstm.load(model)
    assert is_mapped(fastlstm.load(model, verify=True))


@pytest.mark.parametrize(("said", "asked", "kept"), [
    ("", None, False), ("", True, True), ("", False, False), ("off", True, False), ("OFF", None, False), ("on", None, True),
    ("on", False, False), ("folder", None, True), ("folder", False, False), ("1", None, True), ("0", True, False), ("true", False, False),
])  # fmt: skip
def test_who_decides(
    said: str, asked: bool | None, kept: bool, model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """FASTLSTM_CACHE=off goes before the argument, which goes before what else the variable says."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FASTLSTM_CACHE", str(folder) if said == "folder" else said)
    fastlstm.load(model, cache=asked)
    assert is_mapped(fastlstm.load(model, cache=asked)) == kept
    there = folder if said == "folder" else tmp_path / "home" / "fastlstm"
    assert there.exists() == kept


def test_argument(model: Path) -> None:
    with pytest.raises(InputError, match="cache: expected True, False or None, found 'yes'"):
        fastlstm.load(model, cache="yes")  # type: ignore[arg-type]


def test_small_and_new_models_are_not_kept(model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "LEAST_BYTES", 1 << 20)
    fastlstm.load(model)
    monkeypatch.setattr(caching, "LEAST_BYTES", 1)
    monkeypatch.setattr(caching, "SETTLED", 3600.0)
    fastlstm.load(model)
    assert not folder.exists()


def test_only_whole_models_of_paths(model: Path, folder: Path) -> None:
    fastlstm.load(model.read_bytes())
    fastlstm.load(model.with_suffix(".h5"))
    fastlstm.load(model, isolated=True)
    fastlstm.load(model, outputs=fastlstm.load(model, cache=False).layers[-2].name)
    assert not folder.exists()


# -- stale ----------------------------------------------------------------------------------------------------------------


def test_another_model_in_its_place(model: Path, folder: Path, tmp_path: Path) -> None:
    """Of the same size and time of modification: its status has changed."""
    fastlstm.load(model)
    about, data = model.stat(), bytearray(model.read_bytes())
    place = data.rindex(np.float32(fastlstm.load(model, cache=False).spec.layers[-1].weights[0].ravel()[0]).tobytes())
    data[place : place + 4] = np.float32(7.5).tobytes()
    model.write_bytes(data)
    os.utime(model, ns=(about.st_atime_ns, about.st_mtime_ns))
    found = fastlstm.load(model)
    assert not is_mapped(found)
    np.testing.assert_array_equal(found.predict(X), fastlstm.load(model, cache=False).predict(X))


@pytest.mark.parametrize("changed", ["sources", "level"])
def test_another_package_or_level(changed: str, model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fastlstm.load(model)
    if changed == "sources":
        monkeypatch.setattr(caching, "sources", lambda: ["another"])
    else:
        monkeypatch.setattr(fastlstm.runtime, "level", lambda: "another")
    assert not is_mapped(fastlstm.load(model))
    assert len(list(folder.iterdir())) == 2


def test_the_name_of_a_file_proves_nothing(model: Path, folder: Path, tmp_path: Path) -> None:
    """A file of another model, by this one's name."""
    other = tmp_path / "other.fastlstm"
    rng = np.random.default_rng(5)
    h5_files.save(tmp_path / "o.h5", [h5_files.recurrent("LSTM", 8, 5, rng)], (None, 5))
    fastlstm.convert(tmp_path / "o.h5", other)
    fastlstm.load(model)
    mine = the_file(folder)
    kept = mine.read_bytes()
    fastlstm.load(other)
    (theirs,) = set(folder.iterdir()) - {mine}
    theirs.write_bytes(kept)
    assert not is_mapped(fastlstm.load(other))


# -- damaged --------------------------------------------------------------------------------------------------------------


def cut_off(data: bytearray) -> None:
    del data[-1:]


def cut_in_half(data: bytearray) -> None:
    del data[len(data) // 2 :]


def emptied(data: bytearray) -> None:
    del data[:]


def grown(data: bytearray) -> None:
    data += bytes(64)


def flipped(place: float) -> Callable[[bytearray], None]:
    def damage(data: bytearray) -> None:
        data[int(place * (len(data) - 1))] ^= 1

    return damage


def swapped(data: bytearray) -> None:
    """Two pages that stand in each other's place."""
    middle = len(data) // 2 // 8 * 8
    data[middle : middle + 1024], data[middle + 1024 : middle + 2048] = data[middle + 1024 : middle + 2048], data[middle : middle + 1024]


DAMAGES = [cut_off, cut_in_half, emptied, grown, swapped, *map(flipped, (0.0, 0.001, 0.01, 0.3, 0.6, 0.9, 1.0))]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged(damage: Callable[[bytearray], None], model: Path, folder: Path) -> None:
    fastlstm.load(model)
    file = the_file(folder)
    data = bytearray(file.read_bytes())
    damage(data)
    file.write_bytes(data)
    found = fastlstm.load(model)
    assert not is_mapped(found)
    np.testing.assert_array_equal(found.predict(X), fastlstm.load(model, cache=False).predict(X))
    assert is_mapped(fastlstm.load(model))  # another was written in its place


@pytest.mark.parametrize("entry", [
    ["<f4", [1 << 40], 64], ["<f4", [4], 1 << 40], ["<f4", [4], 4], ["<f4", [-4], 64], ["O", [1], 64], ["<f4", [4], -64],
    ["<f4", "x", 64], [],
])  # fmt: skip
def test_a_sound_checksum_of_nonsense(entry: list[object], model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read outside of a file whoever wrote it."""
    written = caching.text

    def text(identity: list[object], arrays: dict[str, np.ndarray], first: int) -> bytes:
        found = caching.json.loads(written(identity, arrays, first))
        found["arrays"][0] = [found["arrays"][0][0], *entry]
        return caching.json.dumps(found).encode()

    monkeypatch.setattr(caching, "text", text)
    fastlstm.load(model)
    monkeypatch.undo()
    os.environ["FASTLSTM_CACHE"] = str(folder)
    try:
        assert not is_mapped(fastlstm.load(model))
    finally:
        del os.environ["FASTLSTM_CACHE"]


# -- foreign --------------------------------------------------------------------------------------------------------------


@POSIX
def test_others_may_not_write_to_it(model: Path, folder: Path) -> None:
    fastlstm.load(model)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(the_file(folder).stat().st_mode) == 0o600
    the_file(folder).chmod(0o666)
    assert not is_mapped(fastlstm.load(model))
    the_file(folder).chmod(0o600)
    folder.chmod(0o777)
    assert not is_mapped(fastlstm.load(model))


@POSIX
def test_of_another_user(model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fastlstm.load(model)
    before = the_file(folder).stat().st_mtime_ns
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert not is_mapped(fastlstm.load(model))
    assert the_file(folder).stat().st_mtime_ns == before


@POSIX
def test_links_are_not_followed(model: Path, folder: Path, tmp_path: Path) -> None:
    fastlstm.load(model)
    file = the_file(folder)
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert not is_mapped(fastlstm.load(model))


# -- folders and disks ----------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be(model: Path, folder: Path) -> None:
    folder.write_text("a file")
    assert not is_mapped(fastlstm.load(model))


def test_a_full_disk(model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*paths: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert not is_mapped(fastlstm.load(model))
    assert not list(folder.iterdir())


def test_no_home(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FASTLSTM_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert caching.folder() is None
    assert not is_mapped(fastlstm.load(model, cache=True))


def test_the_oldest_are_dropped(model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the cache's own files alone: the folder may be one in which other things lie."""
    folder.mkdir(mode=0o700)
    newer, older = f"{1:016x}.panels", f"{2:016x}.panels"
    abandoned, begun = f"{3:016x}.panels.12.0123abcd", f"{4:016x}.panels.12.0123abcd"
    others = {"roof.panels", "roof.panels.csv", f"{5:016x}.panels.csv", f"{6:016x}.panels.12.backup", "mine.txt"}
    for age, name in ((100, newer), (200, older), (7200, abandoned), (10, begun), *((90_000, other) for other in others)):
        (folder / name).write_bytes(bytes(1000))
        os.utime(folder / name, (os.stat(folder).st_mtime - age,) * 2)
    monkeypatch.setattr(caching, "MOST_BYTES", 100_000)
    fastlstm.load(model)
    assert {file.name for file in folder.iterdir()} - {the_newest(folder)} == {newer, older, begun, *others}
    monkeypatch.setattr(caching, "MOST_BYTES", the_size(folder) + 1500)
    caching.bound(str(folder))
    assert {file.name for file in folder.iterdir()} - {the_newest(folder)} == {begun, *others}


def test_replaced_while_it_is_loaded(model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that is read is another one than that whose weights are mapped: then those are not used."""
    rng = np.random.default_rng(5)
    layers = [h5_files.embedding(40, 5, rng), h5_files.recurrent("LSTM", 8, 5, rng), h5_files.dense(9, 8, rng)]
    for name in ("old", "new"):
        h5_files.save(tmp_path / f"{name}.h5", layers, (None,))
        fastlstm.convert(tmp_path / f"{name}.h5", tmp_path / f"{name}.fastlstm")
        layers = [h5_files.Layer(layer.entry, [2 * array for array in layer.weights]) for layer in layers]
    fastlstm.load(tmp_path / "old.fastlstm")
    expected = fastlstm.load(tmp_path / "new.fastlstm", cache=False).predict(X)
    found, opened = [], caching.opened

    def then_replaced(*arguments: object) -> object:
        found.append(opened(*arguments))
        os.replace(tmp_path / "new.fastlstm", tmp_path / "old.fastlstm")
        return found[0]

    monkeypatch.setattr(caching, "opened", then_replaced)
    loaded = fastlstm.load(tmp_path / "old.fastlstm")
    assert found[0]
    assert not is_mapped(loaded)
    np.testing.assert_array_equal(loaded.predict(X), expected)


def the_newest(folder: Path) -> str:
    return max(folder.glob(f"*{caching.SUFFIX}"), key=lambda file: file.stat().st_mtime).name


def the_size(folder: Path) -> int:
    return (folder / the_newest(folder)).stat().st_size


def test_processes_at_once(model: Path, folder: Path) -> None:
    """Each writes a whole file or finds one, and all compute the same."""
    code = "from fastlstm import caching; caching.SETTLED = -1e9; caching.LEAST_BYTES = 1\n" + LOADED

    def run(_: int) -> list[str]:
        command = [sys.executable, "-c", code, str(model), "None"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(run, range(6)))
    assert len({digest for _, digest in found}) == 1
    assert run(0) == ["True", found[0][1]]
    assert len(list(folder.iterdir())) == 1
