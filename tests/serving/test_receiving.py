"""How many requests at once, and what their bodies may take: time, and memory together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from asgi import call
from starlette.responses import PlainTextResponse

from fastlstm.serving.options import Options
from fastlstm.serving.refusals import RefusedError
from fastlstm.serving.server import middleware
from fastlstm.serving.server.metrics import Metrics
from fastlstm.serving.server.receiving import Held


class Waiting:
    """An application whose requests read their body and wait until they are let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.inside = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            while (await receive()).get("more_body"):
                pass
        except RefusedError as error:
            await middleware.tell(error, scope, receive, send)
            return
        self.inside += 1
        await self.go.wait()
        await PlainTextResponse("done")(scope, receive, send)


def guarded(app: Any, **options: Any) -> middleware.Guarded:
    return middleware.Guarded(app, SimpleNamespace(options=Options(**options), metrics=Metrics()))  # type: ignore[arg-type]


def status(sent: list[dict[str, Any]]) -> int:
    return int(sent[0]["status"])


def test_places() -> None:
    async def main() -> None:
        app = Waiting()
        guard = guarded(app, max_concurrency=2)
        waiting = [asyncio.ensure_future(call(guard, {"method": "POST"})) for _ in range(2)]
        while app.inside < 2:
            await asyncio.sleep(0)
        refused = await call(guard, {"method": "POST"})
        assert status(refused) == 429
        assert (b"retry-after", b"1") in refused[0]["headers"]
        assert "fastlstm_requests_in_flight 2.0" in guard.metrics.text()[0].decode()
        asked = asyncio.ensure_future(call(guard, {"method": "GET"}))  # health, metadata, metrics
        while app.inside < 3:
            await asyncio.sleep(0)
        app.go.set()
        assert [status(sent) for sent in await asyncio.gather(*waiting, asked)] == [200] * 3
        assert status(await call(guard, {"method": "POST"})) == 200
        assert guard.held.places == 0
        text = guard.metrics.text()[0].decode()
        assert "fastlstm_requests_in_flight 0.0" in text
        assert 'fastlstm_requests_total{api="",model="",status="429"} 1.0' in text

    asyncio.run(main())


@pytest.mark.parametrize("ending", ["error", "cancelled"])
def test_a_place_is_freed_however_a_request_ends(ending: str) -> None:
    async def main() -> None:
        async def failing(*_: Any) -> None:
            if ending == "error":
                raise ValueError
            await asyncio.sleep(60)

        guard = guarded(failing, max_concurrency=1)
        for _ in range(3):
            task = asyncio.ensure_future(call(guard, {"method": "POST"}))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises((ValueError, asyncio.CancelledError)):
                await task
            assert (guard.held.places, guard.held.bytes) == (0, 0)

    asyncio.run(main())


# Bodies


def trickling(parts: int, seconds: float, size: int = 1) -> Callable[[], Awaitable[dict[str, Any]]]:
    left = [parts]

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(seconds)
        left[0] -= 1
        return {"type": "http.request", "body": b"x" * size, "more_body": left[0] > 0}

    return receive


def test_a_body_that_trickles() -> None:
    async def main() -> None:
        app = Waiting()
        app.go.set()
        guard = guarded(app, read_seconds=0.3)
        sent = await call(guard, {"method": "POST"}, trickling(1000, 0.05))
        assert status(sent) == 408
        assert (b"connection", b"close") in sent[0]["headers"]
        assert b"0.3 seconds" in sent[1]["body"]
        assert (guard.held.places, guard.held.bytes) == (0, 0)
        # One that never comes, while another one comes fast enough: 200,000 bytes for a second or so.
        late, fast = await asyncio.gather(
            call(guard, {"method": "POST"}, trickling(1, 60)), call(guard, {"method": "POST"}, trickling(20, 0.05, 10_000))
        )
        assert (status(late), status(fast)) == (408, 200)
        assert asyncio.current_task() is not None and not asyncio.current_task().cancelled()  # type: ignore[union-attr]

    asyncio.run(main())


def test_the_time_of_a_body_is_not_that_of_its_answer() -> None:
    """Who has sent all may wait for an answer longer than a body may take."""

    async def main() -> None:
        async def slow(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await asyncio.sleep(0.8)
            await PlainTextResponse("done")(scope, receive, send)

        assert status(await call(guarded(slow, read_seconds=0.1), {"method": "POST"})) == 200

    asyncio.run(main())


def test_who_ends_a_request_from_outside_is_not_told_of_time() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(call(guarded(Waiting()), {"method": "POST"}, trickling(1, 60)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_bytes_of_all_bodies() -> None:
    async def main() -> None:
        app = Waiting()
        guard = guarded(app, max_waiting_bytes=1000)
        first = asyncio.ensure_future(call(guard, {"method": "POST"}, trickling(1, 0, 900)))
        while not app.inside:
            await asyncio.sleep(0)
        refused = await call(guard, {"method": "POST"}, trickling(1, 0, 200))
        assert status(refused) == 429
        assert guard.held.bytes == 900
        app.go.set()
        assert status(await first) == 200
        assert guard.held.bytes == 0
        assert status(await call(guard, {"method": "POST"}, trickling(2, 0, 900))) == 200  # alone, it is bounded by itself

    asyncio.run(main())


def test_what_is_decompressed_counts() -> None:
    async def main() -> None:
        async def unpacking(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            scope["state"]["hold"](500)
            await asyncio.sleep(0.01)

        guard = guarded(unpacking, max_waiting_bytes=1000)
        two = [call(guard, {"method": "POST"}), call(guard, {"method": "POST"})]
        await asyncio.gather(*two)
        three = await asyncio.gather(*(call(guard, {"method": "POST"}) for _ in range(3)), return_exceptions=True)
        assert sum(isinstance(each, RefusedError) for each in three) == 1
        assert guard.held.bytes == 0

    asyncio.run(main())


def test_one_timer_for_all_bodies() -> None:
    """And none where nothing is awaited."""

    async def main() -> None:
        loop, made = asyncio.get_running_loop(), []
        original = loop.call_later

        def counting(delay: float, *rest: Any) -> Any:
            if "_look" in repr(rest[0]):
                made.append(delay)
            return original(delay, *rest)

        loop.call_later = counting  # type: ignore[method-assign, assignment]
        app = Waiting()
        app.go.set()
        guard = guarded(app)
        for _ in range(100):
            await call(guard, {"method": "POST"})
        assert len(made) == 1
        assert isinstance(guard.held, Held)

    asyncio.run(main())
