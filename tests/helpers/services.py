"""Real services for tests: uvicorn in a process of its own, on a port that the system has chosen.

Run as a script it is that process: ``services.py FILE_DESCRIPTOR JSON``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: So long a service may take to start on a busy machine.
PATIENCE = 60.0


@dataclass
class Running:
    """A service that runs."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def memory(self) -> int:
        """Bytes that it has in memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    @property
    def files(self) -> int:
        """Files that it has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @property
    def lines(self) -> str:
        """What it has written."""
        return self.log.read_text(encoding="utf-8")

    def connect(self) -> socket.socket:
        """A connection that nothing is sent on yet."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


def answers(url: str, path: str = "/v2/health/ready") -> bool:
    """Is there a service that is ready?"""
    try:
        with urllib.request.urlopen(url + path, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def wait(condition: Any, process: subprocess.Popen[bytes] | None = None, log: Path | None = None, patience: float = PATIENCE) -> None:
    """Wait until something is so."""
    end = time.monotonic() + patience
    while not condition():
        said = log.read_text(encoding="utf-8") if log else ""
        assert process is None or process.poll() is None, f"the service has ended:\n{said}"
        assert time.monotonic() < end, f"nothing within {patience} s\n{said}"
        time.sleep(0.02)


@contextlib.contextmanager
def service(
    folder: Path, models: Mapping[str, Path], *, uvicorn: Mapping[str, Any] | None = None, log: str = "text", patience: float | None = None,
    **options: Any,
) -> Iterator[Running]:  # fmt: skip
    """A service, until it is no longer needed.

    Parameters
    ----------
    folder
        Where it writes its log.
    models
        By name, files.
    uvicorn
        Settings of the server.
    log
        Form of the access log.
    patience
        Seconds that connections are waited for, where they differ from ours.
    **options
        Those of a service.
    """
    given = {
        "models": {name: str(path) for name, path in models.items()},
        "options": options,
        "uvicorn": dict(uvicorn or {}),
        "log": log,
        "patience": patience,
    }
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(2048)
        port = listening.getsockname()[1]
        with started(
            [sys.executable, __file__, str(listening.fileno()), json.dumps(given)], folder / "log", (listening.fileno(),)
        ) as process:
            running = Running(port, process, folder / "log")
            wait(lambda: answers(running.url), process, running.log)
            yield running


@contextlib.contextmanager
def started(
    command: list[str], log: Path, files: tuple[int, ...] = (), environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the test, and leaves none of its own behind."""
    with log.open("wb") as target:
        process = subprocess.Popen(
            command, stdout=target, stderr=subprocess.STDOUT, pass_fds=files, start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **(environment or {})},
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
        with contextlib.suppress(ProcessLookupError):  # its workers, where it left some
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=20)


def main() -> None:
    import uvicorn

    from fastlstm.serving import app
    from fastlstm.serving.server import accesslog, connections

    given = json.loads(sys.argv[2])
    if given["patience"] is not None:
        connections.PATIENCE = given["patience"]
        connections.wait_for_heads(given["patience"])
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in given["options"].items()}
    config = uvicorn.Config(
        app(given["models"], **options),
        **{"http": connections.PROTOCOL, "log_config": accesslog.settings(given["log"]), "access_log": False, **given["uvicorn"]},
    )
    uvicorn.Server(config).run([socket.socket(fileno=int(sys.argv[1]))])


if __name__ == "__main__":
    main()
