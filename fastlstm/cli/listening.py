"""Where a service answers: sockets, certificates, addresses."""

from __future__ import annotations

import argparse
import errno
import ipaddress
import socket
import ssl

from ..errors import InputError

MOST_PORT = 65_535
HOST, PORT = "127.0.0.1", 8501  # the port of TensorFlow Serving's REST API
#: Connections that wait to be accepted.
BACKLOG = 2048


def listening(host: str, port: int) -> socket.socket:
    """A socket that takes connections at an address.

    Raises
    ------
    InputError
        If there is no such address, or it is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except socket.gaierror as error:
        raise InputError(f"--host: expected an address or name of this machine, found {host!r}: {error.strerror}") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            advice = f"end what answers there, or choose another: --port {port + 1 if port < MOST_PORT else PORT}, or --port 0 for any"
            raise InputError(f"--port: {port} of {host} is taken; {advice}") from error
        if error.errno == errno.EACCES:
            raise InputError(f"--port: {port} is one that only root may answer at; choose one from 1024 on: --port {PORT}") from error
        if error.errno == errno.EADDRNOTAVAIL:
            raise InputError(f"--host: expected an address of this machine, found {host!r}") from error
        raise InputError(f"--host, --port: {host}, {port}: {error.strerror}") from error


def certified(arguments: argparse.Namespace) -> dict[str, str]:
    """The files of TLS.

    Raises
    ------
    InputError
        If they are none, or do not belong together.
    """
    certificate, key = arguments.ssl_certfile, arguments.ssl_keyfile
    if certificate is None:
        if key is not None:
            raise InputError("--ssl-keyfile: expected --ssl-certfile too, found a key alone")
        return {}
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except OSError as error:  # ssl.SSLError is one
        files = certificate if key is None else f"{certificate} and {key}"
        reason = "it needs a password" if isinstance(error.__cause__, PermissionError) else error.strerror or str(error)
        raise InputError(f"--ssl-certfile: expected a certificate and its key as PEM, found {files}: {reason}") from error
    return {"ssl_certfile": certificate, **({} if key is None else {"ssl_keyfile": key})}


def _no_password() -> str:
    raise InputError(
        "--ssl-keyfile: expected a key without a password, as nobody could be asked for it, found one with; openssl rsa removes it"
    )


def is_loopback(sock: socket.socket) -> bool:
    """Can this machine alone ask?"""
    return ipaddress.ip_address(sock.getsockname()[0].partition("%")[0]).is_loopback


def url_of(sock: socket.socket, secure: bool) -> str:
    """Where to ask, on this machine."""
    host, port = sock.getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = "localhost"
    return f"http{'s' if secure else ''}://{f'[{host}]' if ':' in host else host}:{port}"
