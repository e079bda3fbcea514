"""Archive what a Keras's ``evaluate`` gives, for ``tests/corpus/test_evaluations.py``.

    python tools/record_evaluations.py NAME FOLDER

NAME is that of the archive: "evaluations-keras-2.2.4" makes tests/corpus/recorded/evaluations-keras-2.2.4.tar.xz. FOLDER is what
``PYTHON tests/helpers/evaluation_cases.py FOLDER LIBRARY`` has recorded with the PYTHON that has that Keras, or
``tests/helpers/crossentropy_cases.py`` for "crossentropies-keras-2.2.4"; LIBRARY is what it is imported as: keras, tf.keras or tf_keras.
"""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

RECORDED = Path(__file__).parents[1] / "tests" / "corpus" / "recorded"


def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member without owner and time, so that equal recordings are equal archives."""
    info.uid = info.gid = info.mtime = 0
    info.uname = info.gname = ""
    return info


def archive(name: str, folder: Path) -> Path:
    """Write the archive of a folder."""
    target = RECORDED / f"{name}.tar.xz"
    with tarfile.open(target, "w:xz", preset=9) as out:
        for path in sorted(folder.iterdir()):
            out.add(path, path.name, filter=plain)
    return target


if __name__ == "__main__":
    made = archive(sys.argv[1], Path(sys.argv[2]))
    print(f"{made}: {made.stat().st_size} bytes")
