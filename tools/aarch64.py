"""An aarch64 wheel, built on x86-64 Linux and tried under qemu: what a machine without an ARM of its own can do.

::

    python tools/aarch64.py version    # of Debian's Python, which has to be the one that builds
    python tools/aarch64.py wheel --out dist    # kernels, runtime and wheel for aarch64 (pip install '.[wheels]')
    python tools/aarch64.py try dist/*_aarch64.whl    # installed beside NumPy, h5py and safetensors; tools/check_installed.py
    python tools/aarch64.py python -m pytest tests/unit/test_kernels.py    # anything else with the Python that has it

Needs a Debian with ``apt-get`` and, to run anything, ``qemu-user``. Python and the C library for aarch64 come as Debian's packages, NumPy,
h5py and safetensors as wheels; all of them go into ``build/aarch64`` and nowhere else. The compiler is zig, which brings the headers of
every version of the C library: what it links for 2.17 runs on each later one.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from wheels import HERE, repaired, run, unpacked_sdist
from wheels import wheel as built

TRIPLE = "aarch64-unknown-linux-gnu"
GLIBC = "2.17"
FOLDER = HERE / "build" / "aarch64"
ROOT, SITE, WRAPPER = FOLDER / "root", FOLDER / "site", FOLDER / "python"
#: What the tests need besides the package.
TESTING = ("pytest>=8", "hypothesis>=6.100", "pyyaml>=6")
#: What wheels for aarch64 may be called, oldest C library first.
TAGS = ("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64")


def apt(*arguments: str) -> None:
    """Call apt-get on aarch64's packages, with its state in a folder of its own."""
    state = FOLDER / "apt"
    for name in ("lists/partial", "cache/archives/partial"):
        (state / name).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    options = {
        "APT::Architecture": "arm64", "APT::Architectures::": "arm64", "APT::Sandbox::User": "root", "Dir::State": state,
        "Dir::State::status": state / "status", "Dir::Cache": state / "cache",
    }  # fmt: skip
    run("apt-get", "--quiet", "--assume-yes", *(f"-o{name}={value}" for name, value in options.items()), *arguments)


def root() -> Path:
    """The folder of the Python for aarch64, with all that it needs, unpacked."""
    if not ROOT.exists():
        apt("update")
        apt("install", "--download-only", "--no-install-recommends", "python3", "libpython3-dev", "libstdc++6")
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            for package in sorted((FOLDER / "apt" / "cache" / "archives").glob("*.deb")):
                run("dpkg-deb", "--extract", package, folder)
            Path(folder).rename(ROOT)
            Path(folder).mkdir()  # for the context manager to remove
    return ROOT


def version() -> str:
    """Its version: 3.11."""
    (found,) = (path.name.removeprefix("python") for path in (root() / "usr" / "bin").glob("python3.*"))
    return found


def headers() -> Path:
    """A folder of Python's headers alone: beside them lie those of a C library, which zig has its own of."""
    folder = FOLDER / "include"
    for place in (f"python{version()}", f"aarch64-linux-gnu/python{version()}"):
        link = folder / place
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to(root() / "usr" / "include" / place, target_is_directory=True)
    return folder


def variables() -> dict[str, str]:
    """The environment in which setup.py builds for aarch64."""
    include = headers()
    target = shlex.join([sys.executable, "-m", "ziglang", "cc", "-target", f"aarch64-linux-gnu.{GLIBC}"])
    return {
        "FASTLSTM_TRIPLE": TRIPLE,
        "CC": f"{target} -I{include} -I{include}/python{version()}",
        "LDSHARED": f"{target} -shared",
        "SETUPTOOLS_EXT_SUFFIX": f".cpython-{version().replace('.', '')}-aarch64-linux-gnu.so",
        "_PYTHON_HOST_PLATFORM": "linux-aarch64",
    }


def wheel(out: Path) -> Path:
    """Build the wheel for the Python of Debian's packages, which has to be the version that runs this."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if own != version():
        raise SystemExit(f"Debian's Python for aarch64 is {version()}: run this with that version, not with {own}")
    run(sys.executable, HERE / "fastlstm" / "kernels" / "compile.py", "--triple", TRIPLE)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        plain = work / "wheels"
        plain.mkdir()
        return repaired(built(unpacked_sdist(work), Path(sys.executable), variables(), plain), out)


def install(*packages: str | Path) -> None:
    """Have the Python for aarch64 find these packages."""
    platforms = [part for tag in TAGS for part in ("--platform", tag)]
    wanted = ["--python-version", version(), *platforms, "--only-binary", ":all:", "--target", SITE, "--upgrade"]
    run(sys.executable, "-m", "pip", "install", "--quiet", *wanted, *packages)


def python() -> Path:
    """A script that is the Python for aarch64, under qemu; processes that it starts with ``sys.executable`` are too."""
    program = root() / "usr" / "bin" / f"python{version()}"
    emulated = shlex.join(["qemu-aarch64", "-0", str(WRAPPER), "-L", str(root()), str(program)])
    home, site = root() / "usr", SITE
    WRAPPER.write_text(f"#!/bin/sh\nPYTHONHOME='{home}' PYTHONPATH='{site}' exec {emulated} \"$@\"\n")
    WRAPPER.chmod(0o755)
    return WRAPPER


def main() -> int:
    """The command line."""
    if sys.argv[1:2] == ["python"]:
        return subprocess.run([python(), *sys.argv[2:]], env={**os.environ, "PYTHONPATH": str(SITE)}, check=False).returncode
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("version", "wheel", "try", "python"))
    parser.add_argument("wheels", nargs="*", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "dist", help="where the wheel goes (dist)")
    given = parser.parse_intermixed_args()
    if given.what == "version":
        print(version())
        return 0
    if given.what == "wheel":
        path = wheel(given.out)
        print(f"{path}: {path.stat().st_size:,} bytes")
        return 0
    if len(given.wheels) != 1:
        parser.error("which wheel?")
    install(given.wheels[0], *TESTING)
    return subprocess.run([python(), HERE / "tools" / "check_installed.py"], cwd=FOLDER, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
