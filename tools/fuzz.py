"""Fuzz what reads strangers' files: ``python tools/fuzz.py --seconds 180 [TARGET...]``; needs ``pip install 'fastlstm[fuzz]'``.

Each target runs in a process of its own for its share of the time, of at most 10 s and 2 GB an input, from the corpus that is kept in
tests/corpus/fuzz (and into ``--corpus``). An exception that is no FastLSTMError, a crash, a hang and a lack of memory are findings: their
inputs lie in ``--findings`` then, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
KEPT = HERE / "tests" / "corpus" / "fuzz"
FINDINGS = HERE / "build" / "fuzz"
NAMES = ("json", "hdf5", "own", "keras", "architecture", "yaml", "parts")
MEMORY = 2 << 30
SECONDS = 10
GRACE = 60  # after which it does not end by itself
MOST_BYTES = 1 << 15
#: What libFuzzer calls the inputs that it stops at.
STOPPED = re.compile(r"(crash|oom|timeout)-[0-9a-f]{40}")
#: In one process: with what is instrumented, the fuzzer keeps more than a kilobyte of each; without it, the same inputs leave nothing.
RUNS = 300_000
LIMITS = [
    f"-runs={RUNS}",
    f"-timeout={SECONDS}",
    f"-rss_limit_mb={MEMORY >> 20}",
    f"-max_len={MOST_BYTES}",
    "-len_control=0",
    "-verbosity=0",
]


# -- in the process of a target -----------------------------------------------------------------------------------------------


def fuzz(name: str, findings: Path, options: list[str]) -> None:
    """Run one target under libFuzzer; exceptions are noted once for each place that they come from."""
    import atheris

    with atheris.instrument_imports(include=["fastlstm"]):
        import fastlstm  # noqa: F401
    from fuzz import mutation, targets

    target, seen = targets.TARGETS[name], set()

    def one(data: bytes) -> None:
        try:
            target(data)
        except Exception as error:  # noqa: BLE001  that is what is looked for
            place = where(error)
            if place not in seen:
                seen.add(place)
                print(f"FINDING {name} {place}", file=sys.stderr, flush=True)
                path = findings / f"exception-{hashlib.sha1(place.encode()).hexdigest()[:12]}"
                path.write_bytes(data)
                path.with_suffix(".txt").write_text("".join(traceback.format_exception(error)))

    def mutate(data: bytes, limit: int, seed: int) -> bytes:
        chance = random.Random(seed)
        make: Callable | None = targets.BYTES.get(name)
        if make is not None and chance.random() < 0.05:
            data = targets.made(make, mutation.parsed(data)) or data
        return (chance.random() < 0.98 and mutation.mutated(data, limit, chance)) or atheris.Mutate(data[:limit], limit)

    def cross(data: bytes, other: bytes, limit: int, seed: int) -> bytes:
        return mutation.crossed(data, other, limit, random.Random(seed)) or data

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    atheris.Setup([sys.argv[0], *options], one, custom_mutator=mutate, custom_crossover=cross)
    atheris.Fuzz()


def where(error: BaseException) -> str:
    """The name of an error and the line of fastlstm that raised it, or whose call did."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/fastlstm/" in frame.filename] or frames
    return f"{type(error).__name__} {Path(own[-1].filename).name}:{own[-1].lineno} {own[-1].name}"


# -- all of them --------------------------------------------------------------------------------------------------------------


def campaign(name: str, seconds: float, seed: int, corpus: Path, findings: Path) -> tuple[int, int, list[str]]:
    """(executions, inputs in the corpus, findings) of one target; begun anew after what stops libFuzzer."""
    end, executions, rounds = time.monotonic() + seconds, 0, 0
    corpus.mkdir(parents=True, exist_ok=True)
    findings.mkdir(parents=True, exist_ok=True)
    while (left := int(end - time.monotonic())) > 0:
        options = [*LIMITS, f"-seed={seed and seed + rounds}", f"-max_total_time={left}", f"-artifact_prefix={findings}/"]
        options += ["-print_final_stats=1", str(corpus)]
        if (KEPT / name).is_dir() and corpus != KEPT / name:
            options.append(str(KEPT / name))
        log = findings / "log"
        with log.open("w") as stream:
            command = [sys.executable, __file__, "--one", name, "--findings", str(findings), "--", *options]
            try:
                subprocess.run(command, stderr=stream, check=False, timeout=left + GRACE)
            except subprocess.TimeoutExpired:
                raise SystemExit(f"{name}: does not end; see {log}") from None
        text = log.read_text(errors="replace")
        counted = re.search(r"stat::number_of_executed_units: +(\d+)", text)
        executions += int(counted[1]) if counted else 0
        rounds += 1
        if counted is None or STOPPED.search(text):
            print("\n".join(text.splitlines()[-40:]))
        if counted is None and not STOPPED.search(text):
            raise SystemExit(f"{name}: did not run")
    found = sorted(path.name for path in findings.iterdir() if path.suffix == "" and path.name != "log")
    return executions, len(list(corpus.iterdir())), found


def keep(names: Iterable[str], corpus: Path, folder: Path) -> None:
    """Copy the inputs that are worth it; those of former findings always are."""
    from fuzz import minimise, targets

    for name in names:
        files = [path for source in (KEPT, corpus) if (source / name).is_dir() for path in (source / name).iterdir()]
        (folder / name).mkdir(parents=True, exist_ok=True)
        for path in {*minimise.chosen(targets.TARGETS[name], files), *(path for path in files if path.name.startswith("finding-"))}:
            shutil.copy(path, folder / name)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(NAMES)}; all by default")
    parser.add_argument("--seconds", type=float, default=180, help="in all")
    parser.add_argument("--seed", type=int, default=0, help="of chance: the same again; by default another each time")
    parser.add_argument("--corpus", type=Path, help="folder where inputs of new paths are kept, below the target's name")
    parser.add_argument("--findings", type=Path, default=FINDINGS, help="new folder for what is found (default: build/fuzz, made anew)")
    parser.add_argument("--seeds", type=Path, metavar="FOLDER", help="only write the inputs to begin with there")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="only put what is worth keeping of --corpus and the kept corpus there")
    parser.add_argument("--one", metavar="TARGET", help=argparse.SUPPRESS)  # run here; the rest are libFuzzer's options
    arguments = parser.parse_args()
    sys.path[:0] = [str(HERE / "tests" / "helpers")]
    if arguments.one:
        fuzz(arguments.one, arguments.findings, arguments.targets)
        return 0
    if arguments.seeds:
        from fuzz import seeds

        seeds.write(arguments.seeds)
        return 0
    names = arguments.targets or NAMES
    if arguments.keep:
        keep(names, arguments.corpus, arguments.keep)
        return 0
    if not set(names) <= set(NAMES):
        parser.error(f"expected targets of {', '.join(NAMES)}, found {' '.join(names)}")
    bad = 0
    if arguments.findings == FINDINGS:
        shutil.rmtree(FINDINGS, ignore_errors=True)
    elif arguments.findings.exists() and (not arguments.findings.is_dir() or any(arguments.findings.iterdir())):
        parser.error(f"--findings: expected a new or empty folder, found {arguments.findings}, which holds something already")
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            place = (arguments.corpus or Path(scratch)) / name
            share, findings = arguments.seconds / len(names), arguments.findings / name
            executions, kept, found = campaign(name, share, arguments.seed, place, findings)
            bad += len(found)
            print(f"{name}: {executions} executions, {kept} inputs of new paths, {len(found)} findings {' '.join(found)}", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
