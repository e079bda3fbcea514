"""SavedModel folders and checkpoints with something wrong in them: ``python tests/helpers/mutated_folders.py --count 2000``.

Bytes are changed in every file; and, as checksums would show that, messages, entries of the table, the config and the graph of objects
are changed and written anew with checksums that are right. Whatever happens, it must be a model or a FastLSTMError, and soon.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import bundle_files
import numpy as np
import recorded_saved_models

import fastlstm
from fastlstm.errors import FastLSTMError
from fastlstm.formats.reading import wire

SECONDS = 10
MEMORY = 4 << 30
NUMBERS = (0, 1, 2, 7, 127, 128, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
VALUES = (
    None,
    True,
    -1,
    0,
    1,
    1 << 40,
    1e308,
    "",
    "x",
    [],
    {},
    [[]],
    {"class_name": "__tuple__", "items": [1]},
    {"class_name": "LSTM", "config": {}},
)


def changed_bytes(data: bytes, chance: random.Random) -> bytes:
    """Some bytes are others, lost, doubled, or come from elsewhere."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        at = chance.randrange(len(out) + 1)
        way = chance.randrange(5)
        if way == 0 and out:
            out[at % len(out)] = chance.randrange(256)
        elif way == 1:
            del out[at:]
        elif way == 2:
            del out[at : at + chance.randrange(1, 9)]
        elif way == 3:
            out[at:at] = chance.randbytes(chance.randrange(1, 9))
        else:
            out[at:at] = out[at : at + chance.randrange(1, 200)]
    return bytes(out)


def changed_message(data: bytes, chance: random.Random, depth: int = 0) -> bytes:
    """A message with one field changed, somewhere inside."""
    try:
        fields = list(wire.fields(memoryview(data)))
    except wire.DamagedError:
        return changed_bytes(data, chance)
    if not fields:
        return bundle_files.message((chance.randrange(1, 9), chance.choice(NUMBERS)))
    out: list[tuple[int, int | bytes]] = [(number, bundle_files.as_given(value)) for number, value in fields]
    place = chance.randrange(len(out))
    number, value = out[place]
    way = chance.randrange(8)
    if way == 0:
        del out[place]
    elif way == 1:
        out.insert(chance.randrange(len(out) + 1), out[place])
    elif way == 2:
        other = chance.randrange(len(out))
        out[place], out[other] = out[other], out[place]
    elif way == 3:
        out[place] = (chance.randrange(1, 12), value)
    elif isinstance(value, int):
        out[place] = (number, chance.choice((*NUMBERS, value + 1, value - 1, chance.randrange(64))) & (1 << 64) - 1)
    else:
        out[place] = (
            number,
            changed_message(value, chance, depth + 1) if depth < 8 and chance.random() < 0.85 else changed_bytes(value, chance),
        )
    return bundle_files.message(*out)


def changed_json(value: Any, chance: random.Random) -> Any:
    """JSON with one value changed, somewhere inside."""
    if isinstance(value, (dict, list)) and value and chance.random() < 0.93:
        key = chance.choice(list(value) if isinstance(value, dict) else range(len(value)))
        out: Any = value.copy()
        way = chance.random()
        if way < 0.05:
            del out[key]
        elif way < 0.08 and isinstance(out, list):
            out.insert(key, out[key])
        else:
            out[key] = changed_json(value[key], chance)
        return out
    return chance.choice(VALUES)


def changed_metadata(data: bytes, chance: random.Random) -> bytes:
    """``keras_metadata.pb`` with another config of the model."""
    nodes = [bytes(each) for each in wire.every(memoryview(data), 1)]
    fields = [(number, bundle_files.as_given(value)) for number, value in wire.fields(memoryview(nodes[0]))]
    for place, (number, value) in enumerate(fields):
        if number == 5 and isinstance(value, bytes):
            entry = json.loads(value)
            key = "model_config" if chance.random() < 0.9 else chance.choice(list(entry))
            fields[place] = (5, json.dumps({**entry, key: changed_json(entry[key], chance)}).encode())
    return bundle_files.message((1, bundle_files.message(*fields)), *((1, node) for node in nodes[1:]))


def changed_bundle(prefix: Path, chance: random.Random) -> None:
    """A bundle with another graph of objects, or other arrays, entries or numbers, whose checksums are right."""
    tensors = bundle_files.read_bundle(prefix)
    way, header = chance.random(), None
    key = chance.choice(list(tensors))
    if way < 0.5:
        (graph,) = tensors[bundle_files.GRAPH]
        tensors[bundle_files.GRAPH] = [changed_message(bytes(graph), chance)]
    elif way < 0.6:
        del tensors[key]
    elif way < 0.7:
        tensors[chance.choice(list(tensors))] = tensors[key]
    elif way < 0.8:
        tensors[key] = chance.choice(
            (np.zeros((0,), np.float32), np.zeros((3, 4, 5)), np.ones((), np.int64), [b"a", b""], np.float32([np.nan]))
        )
    elif way < 0.85:
        header = changed_message(bundle_files.message((1, 1), (3, bundle_files.message((1, 1)))), chance)
    bundle_files.write_bundle(prefix, tensors, header)
    if way >= 0.85:
        index = prefix.with_name(prefix.name + ".index")
        entries = [(key.encode(), bytes(value)) for key, value in listed(index.read_bytes())]
        place = chance.randrange(len(entries))
        entries[place] = (entries[place][0], changed_message(entries[place][1], chance))
        index.write_bytes(bundle_files.table(entries))


def listed(index: bytes) -> list[tuple[str, memoryview]]:
    """The entries of a table."""
    from fastlstm.formats.reading.bundle import table
    from fastlstm.limits import Budget

    return [(str(key, "utf-8"), value) for key, value in table(memoryview(index), Budget.unlimited(), "index")]


def mutate(case: Path, chance: random.Random) -> None:
    """Change something in a case: in its SavedModel, or in its checkpoint."""
    saved = case / "saved"
    way = chance.random()
    files = sorted(path for path in case.rglob("*") if path.is_file() and (saved in path.parents or "checkpoint" in path.parts))
    if way < 0.2:
        path = chance.choice(files)
        path.write_bytes(changed_bytes(path.read_bytes(), chance))
    elif way < 0.4:
        path = saved / "saved_model.pb"
        path.write_bytes(changed_message(path.read_bytes(), chance))
    elif way < 0.6 and (saved / "keras_metadata.pb").exists():
        path = saved / "keras_metadata.pb"
        data = path.read_bytes()
        path.write_bytes(changed_metadata(data, chance) if chance.random() < 0.7 else changed_message(data, chance))
    elif way < 0.63:
        chance.choice(files).unlink()
    else:
        prefix = (
            case / "checkpoint" / "weights"
            if (case / "checkpoint").exists() and chance.random() < 0.3
            else saved / "variables" / "variables"
        )
        changed_bundle(prefix, chance)


def outcome(case: Path, chance: random.Random) -> str:
    """What comes of a case: anything but a model or a FastLSTMError is raised."""
    found = []
    ways: list[tuple[Path, dict[str, Any]]] = [(case / "saved", {})]
    if (case / "checkpoint").exists():
        ways.append((case / "checkpoint" / "weights", {"architecture": case / "model.json"}))
    for path, options in ways:
        try:
            model = fastlstm.load(path, max_bytes=1 << 28, **options)
            model.summary(print_fn=lambda line: None)
            shapes = [[size or 3 for size in shape] for shape in (one.shape for one in model.inputs)]
            if all(np.prod(shape) < 1 << 16 for shape in shapes):
                arrays = [np.ones(shape).astype("U" if one.dtype == "string" else "f4") for shape, one in zip(shapes, model.inputs)]
                model.predict(arrays if len(arrays) > 1 else arrays[0])
            found.append("a model")
        except FastLSTMError as error:
            found.append(type(error).__name__)
    return ", ".join(found)


def run(count: int, seed: int, chosen: str = "") -> Counter[str]:
    """So many mutated folders.

    Raises
    ------
    AssertionError
        If one gives anything but a model or a FastLSTMError, or takes too long.
    """
    counts: Counter[str] = Counter()
    before = signal.signal(signal.SIGALRM, late)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seeds = recorded_saved_models.unpacked(Path(folder))
        seeds = [path for path in seeds if chosen in str(path)]
        for number in range(count):
            chance = random.Random(f"{seed} {number}")
            case = Path(folder, "mutated")
            shutil.rmtree(case, ignore_errors=True)
            shutil.copytree(chance.choice(seeds), case)
            for _ in range(chance.choice((1, 1, 1, 2, 3))):
                try:
                    mutate(case, chance)
                except (FastLSTMError, OSError, ValueError, KeyError, AssertionError, TypeError, AttributeError):
                    continue  # it has been changed so that it cannot be changed further
            signal.alarm(SECONDS)
            try:
                counts[outcome(case, chance)] += 1
            except BaseException as error:
                shutil.copytree(case, Path(tempfile.gettempdir(), f"mutated-{seed}-{number}"), dirs_exist_ok=True)
                raise AssertionError(f"seed {seed}, number {number}: {''.join(traceback.format_exception(error))}") from error
            finally:
                signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    return counts


def late(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print(dict(run(options.count, options.seed)))


if __name__ == "__main__":
    sys.exit(main())
