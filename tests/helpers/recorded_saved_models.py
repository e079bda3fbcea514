"""The small set of SavedModels that is kept: ``python tests/helpers/recorded_saved_models.py FOLDER...`` packs it.

FOLDER is what ``tools/make_saved_models.py`` wrote, named for the TensorFlow: ``tf215``. What is never read is cut out of
``saved_model.pb`` (graphs of functions are nine tenths of it), but for a few, which stay as TensorFlow wrote them.
"""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path

import bundle_files
import numpy as np

ARCHIVE = Path(__file__).parents[1] / "corpus" / "recorded" / "saved-models.tar.xz"
CASES = (
    "lstm_both", "cells_stacked_mask", "nested_functional", "lstm_stateful", "operations", "cell_custom", "text_adapted", "text_file",
    "normalization", "compiled",
)  # fmt: skip
#: What those could not save, or did not have.
NOT_WRITTEN = frozenset({
    ("tf200", "lstm_stateful"), ("tf200", "cell_custom"), ("tf200", "text_adapted"), ("tf200", "text_file"), ("tf200", "normalization"),
    ("tf23", "text_file"),
})  # fmt: skip
#: Those whose ``saved_model.pb`` stays whole, and those whose checkpoints are kept.
WHOLE = (("tf23", "normalization"), ("tf215", "compiled"))
CHECKPOINTS = ("nested_functional", "text_adapted")
NOT_READ = ("fingerprint.pb",)


def unpacked(folder: Path) -> list[Path]:
    """The cases of the archive, each a folder."""
    with tarfile.open(ARCHIVE) as packed:
        packed.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return sorted(path.parent for path in folder.glob("*/*/about.json"))


def kept(generation: str, case: Path) -> dict[str, bytes]:
    """The files of a case that are kept, by name."""
    found: dict[str, bytes] = {}
    for path in sorted(path for path in case.rglob("*") if path.is_file()):
        name = path.relative_to(case).as_posix()
        top = name.split("/")[0]
        if top in ("tracked", "model.h5") or (top == "checkpoint" and case.name not in CHECKPOINTS) or path.name in NOT_READ:
            continue
        data = path.read_bytes()
        if name == "saved/saved_model.pb" and (generation, case.name) not in WHOLE:
            data = bundle_files.stripped(data)
        elif name == "arrays.npz":  # packed later, all together
            stream = io.BytesIO()
            with np.load(path) as arrays:
                np.savez(stream, **{key: arrays[key] for key in sorted(arrays.files)})
            data = stream.getvalue()
        found[name] = data
    if case.name not in CHECKPOINTS:
        policy = "mixed_float16" in found["model.json"].decode()
        found["model.json"] = json.dumps({"mixed_float16": policy}).encode()
    return found


def main(folders: list[str]) -> None:
    """Pack the cases, one after another in all generations: what they share is packed once."""
    with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
        for case in CASES:
            for folder in map(Path, folders):
                if not (folder / case / "about.json").exists():
                    continue
                for name, data in kept(folder.name, folder / case).items():
                    info = tarfile.TarInfo(f"{folder.name}/{case}/{name}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    print(ARCHIVE.stat().st_size)


if __name__ == "__main__":
    main(sys.argv[1:])
