"""``fastlstm serve``: models over HTTP and WebSocket, by uvicorn; in this process or in several."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import math
import os
import re
import shlex
import signal
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any

from .. import lazy
from ..errors import InputError
from ..inputs import shape_text
from . import customfile, terminal
from .listening import BACKLOG, HOST, MOST_PORT, PORT, certified, is_loopback, listening, url_of
from .options import add_precision, add_telling, completed, path, positive
from .outcome import is_quiet, plain

if TYPE_CHECKING:
    import uvicorn

    from .. import demo
    from ..pipeline import Pipeline
    from ..serving.models import finding, served
    from ..serving.models.repository import Repository
    from ..serving.options import Options
    from ..serving.server.workers import Agreement
else:
    demo, finding = lazy.module("fastlstm.demo"), lazy.module("fastlstm.serving.models.finding")
    served = lazy.module("fastlstm.serving.models.served")

#: What the demonstration is served as, and the steps by which the network was trained.
DEMO, DEMO_SCALER = "sunspots", ["sqrt", {"max_abs": 10}]
#: Where the token may stand that requests must hold.
TOKEN = "FASTLSTM_TOKEN"
MOST_TOKEN = 4096
#: What is imported to serve.
EXTRA = ("starlette", "uvicorn", "orjson", "prometheus_client")
#: Seconds that an idle connection is kept: longer than load balancers keep theirs, so that none of them asks while it is closed.
KEEP_ALIVE = 75
#: The exit code of a process of uvicorn's that cannot begin.
CANNOT_BEGIN = 3
#: Seconds without a sign of life after which a worker is taken to hang, and is killed.
HUNG = 60
#: Seconds that answers get at the end, beyond the time of a request.
GRACE = 5
#: Characters of an example that is shown as a whole.
LONGEST = 400
#: Timesteps of an example, where their number is open: the first that the model takes.
STEPS = (3, 16, 64, 256)
#: How options of a service are called on the command line, where it is not the same word.
CALLED = {"folder": "--models", "models": "MODEL", "labels": "--label", "cors_origins": "--cors-origin", "hosts": "--allowed-host"}
#: Options of a service that are numbers, with their kind and what is said of them.
LIMITS: Mapping[str, tuple[Any, str]] = {
    "max_rows": (int, "rows of a request (65536)"),
    "max_timesteps": (int, "timesteps of a row (65536)"),
    "max_answer_bytes": (int, "bytes of the outputs of a request, as arrays (268435456)"),
    "max_body_bytes": (int, "bytes of a request's body, decompressed (67108864)"),
    "max_waiting_bytes": (int, "bytes of the bodies of all requests at once (268435456)"),
    "max_concurrency": (int, "requests at the same time; others are refused with 429 (256)"),
    "timeout_seconds": (float, "seconds for a request, from its last byte on (60)"),
    "read_seconds": (float, "seconds for the head and the body of a request to come (20)"),
    "max_sequences": (int, "sequences with a state at the same time, of each model (10000)"),
    "sequence_idle_seconds": (float, "seconds without a timestep after which a sequence is forgotten (600)"),
    "max_steps": (int, "timesteps of a sequence, for models with causal attention (none)"),
    "max_message_bytes": (int, "bytes of a WebSocket's message (1048576)"),
}
#: All that are numbers, and have defaults of their own.
NUMBERS = ("compute_threads", "batch_rows", "batch_wait_us", *LIMITS)


# -- arguments ---------------------------------------------------------------------------------------------------------------


def add(command: argparse.ArgumentParser) -> None:
    """The arguments."""
    what = "NAME=PATH, or a path alone, which is called as its file: a model, a pipeline, or a folder of versions, 1/, 2/, ..."
    completed(command.add_argument("model", metavar="MODEL", nargs="*", type=path, help=what))
    completed(command.add_argument("--models", metavar="FOLDER", type=path, help="serve each model in this folder by the name of its file"))
    command.add_argument("--demo", action="store_true", help=f"serve the demonstration too, as {DEMO}")
    command.add_argument(
        "--versions", metavar="N", type=_versions, default=1, help="how many of the newest versions are served, or all (default: 1)"
    )
    command.add_argument("--label", metavar="MODEL:LABEL=N", type=_label, action="append", default=[], help="a name of a version")
    command.add_argument(
        "--poll-seconds", metavar="S", type=_poll, default=2.0, help="how often files are looked at for changes, or never (default: 2)"
    )
    _add_place(command.add_argument_group("where it answers, and whom"))
    work = command.add_argument_group("how it computes")
    work.add_argument("--workers", metavar="N", type=positive, default=1, help="processes that answer at the same port (default: 1)")
    what = "each worker also answers at a port of its own, PORT+1 and so on, where sequences are taken"
    work.add_argument("--sequence-ports", action="store_true", help=what)
    work.add_argument("--threads", metavar="N", type=positive, default=1, help="threads that share a computation (default: 1)")
    add_precision(work)
    work.add_argument("--compute-threads", metavar="N", type=positive, help="requests that compute at the same time (default: the cores)")
    work.add_argument("--batch-rows", metavar="N", type=positive, help="compute requests together that wait, up to so many rows")
    work.add_argument("--batch-wait-us", metavar="US", type=_number, help="microseconds that a request waits for others (default: 0)")
    limits = command.add_argument_group("limits (defaults)")
    for name, (kind, says) in LIMITS.items():
        limits.add_argument(_option(name), metavar="N" if kind is int else "S", type=positive if kind is int else _seconds, help=says)
    reading = command.add_argument_group("how files are read")
    reading.add_argument("--max-bytes", metavar="N", type=positive, help="memory that loading a file may take")
    reading.add_argument("--isolated", action="store_true", help="read files in a process of its own, with limits: for files of strangers")
    completed(reading.add_argument("--custom", metavar="PY", type=path, help=customfile.EXPECTED.removeprefix("expected ")))
    add_telling(command, json=False)
    command.set_defaults(command=run)


def _add_place(group: Any) -> None:
    group.add_argument(
        "--host", metavar="ADDRESS", default=HOST, help="0.0.0.0 or :: for all of this machine (default: this machine alone)"
    )
    group.add_argument("--port", metavar="N", type=_port, default=PORT, help=f"0 for any that is free (default: {PORT})")
    completed(group.add_argument("--token-file", metavar="FILE", type=path, help=f"what requests must hold; or set {TOKEN}"))
    completed(group.add_argument("--ssl-certfile", metavar="PEM", type=path, help="the certificate: the service speaks HTTPS"))
    completed(group.add_argument("--ssl-keyfile", metavar="PEM", type=path, help="its key, unless that is in the same file"))
    group.add_argument("--cors-origin", metavar="URL", action="append", default=[], help="web pages of this origin may ask; * for all")
    what = "a name by which this machine may be asked (default: localhost alone, where only this machine is answered; else any)"
    group.add_argument("--allowed-host", metavar="NAME", action="append", default=[], help=what)
    group.add_argument(
        "--access-log",
        choices=("none", "text", "json"),
        default="text",
        help="a line for each request, but for the page's own (default: text)",
    )
    group.add_argument("--no-page", action="store_true", help="without the page at /")


def _option(name: str) -> str:
    return CALLED.get(name, "--" + name.replace("_", "-"))


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number from 0 on, found {text!r}")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > MOST_PORT:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to {MOST_PORT}, found {text!r}")
    return int(text)


def _versions(text: str) -> int | None:
    return None if text == "all" else positive(text)


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds above zero, found {text!r}")
    return found


def _poll(text: str) -> float | None:
    return None if text == "never" else _seconds(text)


def _label(text: str) -> tuple[str, str, int]:
    found = re.fullmatch(r"([^:=]+):([^:=]+)=(\d+)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected MODEL:LABEL=VERSION such as m:stable=3, found {text!r}")
    return found[1], found[2], int(found[3])


# -- what is served ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Application:
    """Makes the application in whichever process it is to run: uvicorn calls it there."""

    models: Mapping[str, str]
    folder: str | None
    labels: Mapping[str, Mapping[str, int]]
    options: Options
    custom: str | None = None
    demo: bool = False

    def given(self) -> dict[str, str | Pipeline]:
        """The models."""
        return {**self.models, DEMO: demonstration()} if self.demo else dict(self.models)

    def loading(self) -> Options:
        """The options, with the functions of the user's own, which no process can be handed."""
        functions = customfile.functions(self.custom)
        return replace(self.options, loading={**self.options.loading, **functions}) if functions else self.options

    def repository(self) -> Repository:
        """The models alone, to see whether they can be served."""
        from ..serving.models.repository import Repository

        return Repository(self.given(), self.loading(), folder=self.folder, labels=self.labels)

    def __call__(self) -> Any:
        """The application, in a worker."""
        from ..serving.server import workers

        workers.end_with_parent()
        chosen, slot = self.loading(), workers.Slot.here
        assert slot is not None
        if chosen.sequence_ports:
            chosen = replace(chosen, own_port=chosen.sequence_ports[slot.number])
        return begun(self.made(chosen, workers.Agreement(slot, waits=chosen.poll_seconds is not None)))

    def made(self, options: Options, agreement: Agreement | None = None) -> Any:
        """The application, as it runs alone or with other workers."""
        from ..serving.application import assembled

        return assembled(self.given(), options, folder=self.folder, labels=self.labels, agreement=agreement)


def demonstration() -> Pipeline:
    """The network of ``fastlstm demo``, which takes numbers of sunspots as they are counted and forecasts them so."""
    from ..loading import load
    from ..pipeline import Pipeline

    return Pipeline(load(demo.MODEL), scaler=DEMO_SCALER, window=demo.WINDOW, inverse=True)


def named(texts: Sequence[str]) -> dict[str, str]:
    """Paths by name.

    Raises
    ------
    InputError
        If two have the same name, or one has a name that no request could ask for.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, mark, rest = text.partition("=")
        if not mark or os.path.lexists(text):
            name, rest = finding.name_of(text), text
            if not finding.NAME.fullmatch(name):
                raise InputError(
                    f"MODEL: {text}: expected a name of {finding.NAMES}, found {name!r}; give it one: NAME={shlex.quote(text)}"
                )
        finding.checked_name(name, "MODEL")
        if name in found:
            raise InputError(
                f"MODEL: expected models of different names, found {found[name]} and {rest}, both {name!r}; give one: NAME=PATH"
            )
        if not rest:
            raise InputError(f"MODEL: expected NAME=PATH, found {text!r} without a path")
        found[name] = os.path.abspath(rest)
    return found


def application(arguments: argparse.Namespace) -> Application:
    """What is asked for.

    Raises
    ------
    InputError
        If an argument does not fit, or there is nothing to serve.
    """
    from ..serving.options import Options

    models = named(arguments.model)
    if arguments.demo and DEMO in models:
        raise InputError(f"--demo: expected no other model of the name {DEMO!r}, found {models[DEMO]}")
    if not models and not arguments.demo and arguments.models is None:
        raise InputError("MODEL: expected a model to serve, NAME=PATH, --models FOLDER or --demo, found none of these")
    labels: dict[str, dict[str, int]] = {}
    for name, label, version in arguments.label:
        labels.setdefault(name, {})[label] = version
    given = {name: getattr(arguments, name) for name in NUMBERS}
    chosen = {name: value for name, value in given.items() if value is not None}
    options = Options(
        versions=arguments.versions, poll_seconds=arguments.poll_seconds, threads=arguments.threads, loading=loading(arguments),
        token=token(arguments), cors_origins=tuple(arguments.cors_origin), hosts=tuple(arguments.allowed_host),
        page=not arguments.no_page, workers=arguments.workers, **chosen,
    )  # fmt: skip
    customfile.functions(arguments.custom)  # says what is wrong with it, by the name that was given
    custom = None if arguments.custom is None else os.path.abspath(arguments.custom)
    return Application(models, arguments.models, labels, options, custom, arguments.demo)


def loading(arguments: argparse.Namespace) -> dict[str, Any]:
    """How files are read."""
    found: dict[str, Any] = {}
    if arguments.max_bytes is not None:
        found["max_bytes"] = arguments.max_bytes
    if arguments.isolated:
        found["isolated"] = True
    if arguments.precision is not None:
        found["precision"] = arguments.precision
    return found


def token(arguments: argparse.Namespace) -> str | None:
    """What requests must hold: of a file, or of the environment; never an argument, which every user of the machine can read."""
    if arguments.token_file is None:
        return os.environ.get(TOKEN)
    try:
        with open(arguments.token_file, encoding="utf-8") as file:
            return file.read(MOST_TOKEN).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"--token-file: {arguments.token_file} cannot be read ({reason})") from error


# -- running -----------------------------------------------------------------------------------------------------------------


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal says that it is enough; every request that was taken is answered first."""
    check_extra()
    with told_as_options():
        asked = application(arguments)
    tls = certified(arguments)
    with listening(arguments.host, arguments.port) as shared:
        return serve(arguments, asked, shared, tls)


def check_extra() -> None:
    """Refuse to begin without what serves.

    Raises
    ------
    InputError
        If it is not installed.
    """
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"serve needs {', '.join(missing)}: pip install 'fastlstm[serve]'")


@contextmanager
def told_as_options() -> Iterator[None]:
    """Errors about options of a service in the words of the command line."""
    try:
        yield
    except InputError as error:
        text = re.sub(r"^([a-z_]+):", lambda found: f"{_option(found[1])}:", str(error))
        raise InputError(re.sub(rf"\b({'|'.join(NUMBERS)})\b", lambda found: _option(found[0]), text)) from error


def serve(arguments: argparse.Namespace, asked: Application, shared: socket.socket, tls: Mapping[str, str]) -> int:
    """Load, say what is served and where, and answer."""
    if is_loopback(shared):
        asked = replace(asked, options=replace(asked.options, hosts=asked.options.hosts or ("localhost",)))
    elif asked.options.token is None and not tls:
        terminal.complain(
            f"warning: everyone who reaches {arguments.host} can ask: give a token (--token-file, or {TOKEN}), and TLS (--ssl-certfile)"
        )
    with ExitStack() as stack:
        own = []
        if arguments.workers > 1 and arguments.sequence_ports:
            if arguments.port + arguments.workers > MOST_PORT:
                most, found = MOST_PORT - arguments.workers, f"{arguments.workers} workers have the ports after it, found {arguments.port}"
                raise InputError(f"--sequence-ports: expected a --port of at most {most}, as {found}")
            wanted = [arguments.port and arguments.port + 1 + number for number in range(arguments.workers)]
            own = [stack.enter_context(listening(arguments.host, port)) for port in wanted]
            ports = tuple(sock.getsockname()[1] for sock in own)
            asked = replace(asked, options=replace(asked.options, sequence_ports=ports))
        with told_as_options():
            made = asked.made(asked.loading()) if arguments.workers == 1 else None
            repository = asked.repository() if made is None else made.state.service.repository
            repository.load()
        say(arguments, repository, [shared, *own], bool(tls))
        if made is not None:
            return alone(configured(arguments, partial(begun, made), asked.options, tls), shared)
        del repository
        return together(configured(arguments, asked, asked.options, tls), shared, own, stack)


def configured(arguments: argparse.Namespace, given: Any, options: Options, tls: Mapping[str, Any]) -> uvicorn.Config:
    """What uvicorn is told; ``given``: makes the application."""
    import uvicorn

    from ..serving.server import accesslog, connections

    # A worker that computes or loads may not answer its supervisor for seconds; older releases have no such setting.
    health = {"timeout_worker_healthcheck": HUNG} if "timeout_worker_healthcheck" in signature(uvicorn.Config).parameters else {}
    patience = math.ceil(options.timeout_seconds) + GRACE
    return uvicorn.Config(
        given, factory=True, workers=arguments.workers, http=connections.PROTOCOL, lifespan="on",
        log_config=accesslog.settings(arguments.access_log),
        access_log=False, server_header=False, backlog=BACKLOG, timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=patience,
        ws_max_size=2 * options.max_message_bytes, ws_per_message_deflate=False, **health, **tls,
    )  # fmt: skip


def begun(made: Any) -> Any:
    """The application of this process, once uvicorn begins."""
    from ..serving.server import connections, ending
    from ..serving.state import sockets

    connections.allow_open_files()
    connections.wait_for_heads(made.state.service.options.read_seconds)
    ending.Ending(partial(sockets.ended, made.state.service, asyncio.get_running_loop()))
    return made


def alone(config: uvicorn.Config, shared: socket.socket) -> int:
    """Answer in this process."""
    import uvicorn

    server = uvicorn.Server(config)

    def end(*_: Any) -> None:
        """Called by uvicorn again once it has ended well; or before it has begun."""
        server.should_exit = True

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=[shared])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def together(config: uvicorn.Config, shared: socket.socket, own: Sequence[socket.socket], stack: ExitStack) -> int:
    """Answer in several processes, which are started again where one ends."""
    import uvicorn

    from ..serving.server import metrics, workers
    from ..serving.server.supervisor import Supervisor

    stack.enter_context(metrics.multiprocess_folder())
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fastlstm-workers-"))
    sockets = workers.Listeners(shared, own, folder, config.workers)
    older = {"target": uvicorn.Server(config).run} if "target" in signature(Supervisor).parameters else {}
    supervisor = Supervisor(config, sockets=sockets, **older)
    supervisor.run()
    return int(any(one.process.exitcode == CANNOT_BEGIN for one in supervisor.processes))


# -- what is said ------------------------------------------------------------------------------------------------------------


def say(arguments: argparse.Namespace, repository: Repository, sockets: Sequence[socket.socket], secure: bool) -> None:
    """A line for each model, and where to ask."""
    for name, why in repository.failures().items():
        terminal.complain(f"warning: model {name!r} is not served: {terminal.one_line(why)}")
    if not repository.names():
        terminal.complain(f"warning: {terminal.one_line(arguments.models)}: no model is in it yet")
    if is_quiet(arguments):
        return
    url = url_of(sockets[0], secure)
    lines = []
    for name in repository.names():
        if name not in repository.failures():
            lines.append(line_of(repository.get(name)))
    asked = [repository.get(name) for name in repository.names() if name not in repository.failures()]
    if not arguments.no_page:
        lines.append(f"the page: {url}/")
    if asked:
        lines.append(f"to ask:   {curl(asked[0], url)}")
    if sockets[1:]:
        lines.append("sequences: " + ", ".join(url_of(sock, secure) for sock in sockets[1:]))
    with terminal.output() as stream:
        stream.writelines(f"{terminal.one_line(line)}\n" for line in lines)


def line_of(one: served.Served) -> str:
    """What a model takes and gives."""
    sides = [", ".join(f"{info.name} {shape_text(info.shape)} {info.dtype}" for info in infos) for infos in (one.inputs, one.outputs)]
    return f"{one.name}, version {one.version}: {sides[0]} -> {sides[1]}"


def curl(one: served.Served, url: str) -> str:
    """A request that can be made as it stands: one row, if that is short."""
    path = f"{url}/v1/models/{one.name}"
    for steps in STEPS:
        arrays = {info.name: served.example(info, 1, steps) for info in one.inputs}
        try:
            one.predict(arrays)
        except InputError:
            continue
        rows = {name: plain(array[0]) for name, array in arrays.items()}
        body = json.dumps({"instances": [next(iter(rows.values())) if len(rows) == 1 else rows]})
        if len(body) <= LONGEST:
            return f"curl -d '{body}' {path}:predict"
    return f"curl {path}/metadata"
