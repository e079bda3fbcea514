"""Watches over the workers, and starts again those that end."""

from __future__ import annotations

import contextlib
from typing import Any

import uvicorn.supervisors

Multiprocess: Any = uvicorn.supervisors.Multiprocess


class Supervisor(Multiprocess):  # type: ignore[misc]
    """uvicorn's, but a worker that ends while it is asked whether it is well is noticed at once.

    uvicorn asks through a pipe, and keeps the worker's end of it open on its own side too. A worker that ends between the question and
    its answer then looks like one that is busy, until the health check's timeout is over; meanwhile no other worker is started again,
    and no signal is taken.
    """

    def keep_subprocess_alive(self) -> None:
        """Ask each worker whether it is well; start again those that are not."""
        for worker in self.processes:
            worker.child_conn.close()  # the worker has its own since it was started
        # Older releases do not expect that; the next time, half a second later, they see that it has ended.
        with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
            super().keep_subprocess_alive()
