"""What a service is told once: limits, batching, who may ask."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What a service is told once.

    Attributes
    ----------
    versions : int or None
        How many of the newest versions of a model in a folder of versions are served; None: all.
    poll_seconds : float or None
        How often files are looked at for changes; None: never.
    threads : int
        As for :func:`fastlstm.load`.
    batch_rows : int or None
        Requests that wait at the same time are computed together, up to so many rows; None: each by itself.
    batch_wait_us : int
        Microseconds that a request waits for others.
    max_body_bytes : int
        The most bytes of a request's body, after decompression.
    max_rows : int
        The most rows of a request.
    max_concurrency : int
        Requests that are read, wait or compute at the same time; those beyond are refused with 429.
    timeout_seconds : float
        How long a request may take, from its last byte on, before it is answered with 504.
    max_sequences : int
        Sequences that have a state at the same time, of each model.
    sequence_idle_seconds : float
        After so long without a timestep, a sequence is forgotten.
    max_steps : int or None
        As for :meth:`fastlstm.Model.stream`.
    read_seconds : float
        How long a body may take to come; one that comes at 10,000 bytes a second or more has all the time that it needs.
    max_waiting_bytes : int
        The most bytes of bodies that all requests hold at the same time; those beyond are refused with 429.
    hosts : tuple of str
        Names that requests may call this service by, beside addresses and localhost; empty: any.
    token : str or None
        What ``Authorization: Bearer`` must hold; None: nobody is asked.
    cors_origins : tuple of str
        Origins of web pages that may ask.
    page : bool
        Is there a page at ``/``?
    """

    versions: int | None = 1
    poll_seconds: float | None = 2.0
    threads: int = 1
    batch_rows: int | None = None
    batch_wait_us: int = 0
    max_body_bytes: int = 64 << 20
    max_rows: int = 65_536
    max_concurrency: int = 256
    timeout_seconds: float = 60.0
    max_sequences: int = 10_000
    sequence_idle_seconds: float = 600.0
    max_steps: int | None = None
    read_seconds: float = 20.0
    max_waiting_bytes: int = 256 << 20
    hosts: tuple[str, ...] = ()
    token: str | None = None
    cors_origins: tuple[str, ...] = ()
    page: bool = True
