"""Sequences: requests that go on where an earlier one of the same key has stopped, as Triton's stateful models do.

A request of a sequence has one row. Its **rank** says how much time it covers: an array of as many axes as the model's input, (1,
timesteps, features) or ids (1, timesteps), is fed timestep by timestep; one without the time axis, (1, features) or ids (1,), is one
timestep. What comes back is what the model tells after the last of them, or of each of them, as of :meth:`fastlstm.Stream.feed` and
:meth:`fastlstm.Stream.step`.

A key's requests are computed in the order in which they came. Where it was measured that this pays, its state is a row of a
:class:`fastlstm.batch.Streams`, and steps of different keys that wait at the same time are computed in one call; else it has a Stream of
its own.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import FastLSTMError, InputError, UnsupportedError
from ..models.running import Runner
from ..models.served import Served, without_python
from ..options import Options
from ..refusals import RefusedError, problems
from .keeping import Kept
from .states import State, Step, must_start, settle
from .timesteps import Form, Outputs, read

Count = Callable[[str, str, int], None]
#: What metrics call sequences of clients' own.
KIND = "sequence"
#: Rows that are computed in one call, at most.
TOGETHER = 256
#: Seconds that it costs to put a step off until others have come: a future, a turn of the event loop, parts of arrays.
WAITING = 20e-6
#: Seconds until a row is given back that a thread may still be using.
LATER = 0.1
#: Seconds that may pass on the event loop.
SHORT = 1e-3
#: The status of what has taken too long, and perhaps goes on.
TIME_OUT = 504
#: The longest key.
MOST_KEY = 512


class Sequences:
    """The sequences of one version of a model, by key.

    All methods are called on one event loop; what takes long is computed on the runner's threads.

    Parameters
    ----------
    served
        The version.
    options
        Of them ``max_sequences``, ``sequence_idle_seconds`` and ``max_steps``.
    runner
        Has computed what takes long.
    count
        Told of each sequence of a client's own that begins or is forgotten, as :meth:`.metrics.Metrics.streams`.
    clock
        Tells the time, in seconds.
    """

    def __init__(
        self, served: Served, options: Options, runner: Runner, count: Count | None = None, clock: Callable[[], float] = time.monotonic
    ):
        self._served = weakref.ref(served)  # its states hold it
        self.name, self.inputs = served.name, served.inputs
        self.options, self.runner, self.clock, self._count = options, runner, clock, count
        self.refusal = ""  # why the model cannot stream
        self._kept: Kept | None = None
        try:
            self._kept = Kept(served.model, options.max_steps)
        except (InputError, UnsupportedError) as error:
            why = problems(error) if isinstance(error, UnsupportedError) else without_python(str(error))
            self.refusal = f"model {served.name!r} takes no sequences: {why}"
        self._states: OrderedDict[Hashable, State] = OrderedDict()  # those that were used longest ago come first
        self._gone: OrderedDict[Hashable, str] = OrderedDict()  # why keys have no state any more
        self._released: list[State] = []  # whose rows are to be given back
        self._waiting: deque[Step] = deque()
        self._flushing: asyncio.Task[None] | None = None
        self._sweeping: asyncio.TimerHandle | None = None
        self._alone = self._among = math.inf  # seconds of a timestep: computed alone, and a row's share where many are computed
        self._measured = False
        self._short = 0  # timesteps that are computed at once: known not to take long, nor to be better computed with others
        self._inside: set[int] = set()  # threads that compute, also those that nobody waits for any more

    @property
    def served(self) -> Served:
        """The version."""
        served = self._served()
        assert served is not None  # whoever asks, or a state, holds it
        return served

    def __len__(self) -> int:
        return len(self._states)

    def __contains__(self, key: object) -> bool:
        return key in self._states

    @property
    def rows(self) -> int:
        """How many states are kept."""
        return 0 if self._kept is None else len(self._kept)

    def costs(self, alone: float, among: float) -> None:
        """Note the seconds that a timestep takes: computed alone, and its share where many are computed."""
        self._alone, self._among, self._measured = alone, among, True
        gains_nothing = alone - among < WAITING  # by waiting for others; of what takes forever, that is not so
        self._short = max(math.ceil(SHORT / alone) - 1, 0) if gains_nothing else 0
        if self._kept is not None:
            self._kept.prefer(apart=gains_nothing)

    async def advance(self, key: Hashable, arrays: Mapping[str, Any], *, start: bool = False, end: bool = False) -> Outputs:
        """Have a sequence go on.

        Parameters
        ----------
        key
            Its name: what clients call it.
        arrays
            By input name, one row of one timestep or several: the rank says which.
        start
            Begin anew, also where the key has a state.
        end
            Forget the state once this is answered.

        Returns
        -------
        dict of numpy.ndarray
            By output name.

        Raises
        ------
        InputError
            If the arrays do not fit. The sequence is as it was.
        RefusedError
            400, if the key has no state and this does not start it, or the model cannot stream; 429, if there are too many sequences; 504,
            if it takes too long: the state is then gone.
        """
        if self.refusal:
            raise RefusedError(400, self.refusal)
        values, form = read(arrays, self.inputs)
        state = self.begin(key) if start else self._going_on(key)
        if end:
            self._take_out(key)
        found: Outputs = await self._done(Step(state, values, form, end))
        return found

    def at_once(self, state: State, x: np.ndarray) -> Any:
        """What the model gives after a timestep of its only input, as :meth:`go_on`, if it is computed now; else None."""
        stream = state.stream
        if stream is None or self._flushing is not None or self._inside or not self._short:
            return None
        self._use(state)
        try:
            y = stream.step(x)
        except InputError as error:
            raise self._explained(error, state, 1) from error
        state.steps += 1
        return y

    def _explained(self, error: Exception, state: State, more: int) -> Exception:
        """An error, without words of Python where it is that there would be too many timesteps."""
        most = self.options.max_steps
        if not isinstance(error, InputError) or most is None or state.steps + more <= most:
            return error
        advice = "start it anew, or start the service with more"
        return InputError(f"expected no more than {most} timesteps of a sequence (max_steps), found {state.steps + more}; {advice}")

    async def go_on(self, state: State, values: Mapping[str, np.ndarray], form: Form) -> Outputs:
        """The same for what :meth:`begin` gave, with what :func:`read` gave."""
        self._use(state)
        step = Step(state, values, form, False)
        found: Outputs = await self._done(step)
        return found

    async def reset(self, state: State) -> None:
        """Have a sequence begin anew."""

        def call() -> None:
            if state.computed:
                self._known.forget([state])
                state.computed, state.steps = False, 0

        await self._called(state, call)

    async def state_bytes(self, state: State) -> bytes | None:
        """What a sequence has reached, as :meth:`fastlstm.batch.Streams.state_bytes`; None: it has had no timestep."""
        found: bytes | None = await self._called(state, lambda: self._known.state_bytes(state) if state.computed else None)
        return found

    async def load_state(self, state: State, given: bytes) -> None:
        """Have a sequence go on from what :meth:`state_bytes` gave.

        Raises
        ------
        InputError
            If it does not fit. The sequence is as it was.
        """

        def call() -> None:
            self._known.load_state(state, given)
            state.computed = True

        await self._called(state, call)

    async def _called(self, state: State, call: Callable[[], Any]) -> Any:
        self._use(state)
        return await self._done(Step(state, {}, (None, ()), False, call))

    async def _done(self, step: Step) -> Any:
        """What a step gives, computed now or in its turn."""
        if self._now(step):
            self._compute([step])
            return self._answered(step)
        step.future = asyncio.get_running_loop().create_future()
        step.state.waiting += 1
        self._waiting.append(step)
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().create_task(self._flush())
        return await step.future

    @property
    def _known(self) -> Kept:
        assert self._kept is not None  # nothing comes so far of a model that cannot stream
        return self._kept

    def drop(self, key: Hashable, reason: str = "") -> None:
        """Forget a sequence; the next request that goes on with it is told the reason."""
        state = self._take_out(key)
        if state is not None:
            self._release(state)
            if state.dropped is not None:
                state.dropped(reason)
            elif reason:
                self._note_gone(key, reason)

    # -- keys -------------------------------------------------------------------------------------------------------------

    def begin(self, key: Hashable, dropped: Callable[[str], None] | None = None) -> State:
        """Begin a sequence anew; ``dropped`` is told why, if its state is dropped.

        Raises
        ------
        InputError
            If the key is too long.
        RefusedError
            400, if the model cannot stream; 429, if there are too many sequences.
        """
        if self.refusal:
            raise RefusedError(400, self.refusal)
        if isinstance(key, str) and len(key) > MOST_KEY:
            raise InputError(f"sequence: expected an id of up to {MOST_KEY} characters, found {len(key)}")
        now = self.clock()
        if key in self._states:
            self.drop(key)
        elif len(self._states) >= self.options.max_sequences:
            self._sweep()
            self._refuse_more(now)
        self._gone.pop(key, None)
        state = self._states[key] = State(key, self.served, now, dropped)
        if self._count is not None and dropped is None:
            self._count(self.name, KIND, 1)
        self._watch()
        return state

    def _take_out(self, key: Hashable) -> State | None:
        state = self._states.pop(key, None)
        if state is not None and self._count is not None and state.dropped is None:
            self._count(self.name, KIND, -1)
        return state

    def _going_on(self, key: Hashable) -> State:
        """The state of a key that goes on."""
        state = self._states.get(key)
        if state is not None and self.clock() - state.used > self.options.sequence_idle_seconds and not state.waiting:
            self._sweep()
            state = None
        if state is None:
            raise RefusedError(400, must_start(key, self.name, self._gone.get(key, "")))
        self._use(state)
        return state

    def _use(self, state: State) -> None:
        if state.lost:
            raise RefusedError(400, must_start(state.key, self.name, state.lost))
        state.used = self.clock()
        self._states.move_to_end(state.key)

    def _refuse_more(self, now: float) -> None:
        most = self.options.max_sequences
        if len(self._states) < most:
            return
        oldest = next(iter(self._states.values()))
        wait = max(1, math.ceil(self.options.sequence_idle_seconds - (now - oldest.used)))
        message = f"model {self.name!r}: expected no more than {most} sequences at once, found all of them in use"
        advice = f"end those that are done (sequence_end), or start the service with more (max_sequences); the next is idle in {wait} s"
        raise RefusedError(429, f"{message}; {advice}", {"Retry-After": str(wait)})

    def _sweep(self) -> None:
        """Forget the sequences that are idle."""
        now, most = self.clock(), self.options.sequence_idle_seconds
        for key, state in list(self._states.items()):
            if now - state.used <= most:
                break
            if not state.waiting:
                self.drop(key, f"its state was dropped, as it had no timestep for {most:g} s")

    def _watch(self) -> None:
        """Look again once the oldest may be idle."""
        if self._sweeping is None and self._states:
            oldest = next(iter(self._states.values()))
            wait = self.options.sequence_idle_seconds - (self.clock() - oldest.used)
            self._sweeping = asyncio.get_running_loop().call_later(max(wait, 0) + 0.05, self._swept)

    def _swept(self) -> None:
        self._sweeping = None
        self._sweep()
        self._watch()

    def _note_gone(self, key: Hashable, reason: str) -> None:
        self._gone[key] = reason
        if len(self._gone) > self.options.max_sequences:
            self._gone.popitem(last=False)

    def _release(self, state: State) -> None:
        """Give the row of a state back: at once, unless a thread computes with others."""
        if not state.waiting and state.computed:
            self._released.append(state)
            if self._flushing is None:
                self._tidy()

    def _tidy(self) -> None:
        """Give rows back that are not used any more; later, if that would have to wait for a thread."""
        if self._inside and self._released:
            asyncio.get_running_loop().call_later(LATER, self._tidy)
        elif self._released:
            self._known.forget(self._released)
            self._released.clear()

    # -- computing --------------------------------------------------------------------------------------------------------

    def _now(self, step: Step) -> bool:
        """Is a step computed at once: is it known to be short, are none waiting, and would it gain nothing by waiting for others?"""
        if self._flushing is not None or self._inside:
            return False
        return step.call is not None or step.length <= self._short

    async def _flush(self) -> None:
        """Compute what waits, turn by turn, until nothing does."""
        try:
            if not self._measured:
                await self.runner.call(self._measure, short=False)
            while self._waiting:
                await self._take_turn(self._turn())
        except BaseException as error:
            for step in self._waiting:
                self._lose(step, error)
            self._waiting.clear()
            if not isinstance(error, FastLSTMError):
                raise
        finally:
            self._flushing = None
            self._tidy()

    async def _take_turn(self, turn: Sequence[Step]) -> None:
        cost = len(turn) * turn[0].length * (self._among if self._pays(turn) else self._alone)
        try:
            await self.runner.call(self._compute, turn, short=cost < SHORT and not self._inside)
        except BaseException as error:  # not of the model, whose errors the steps hold: it took too long
            for step in turn:
                self._lose(step, error)
            if not isinstance(error, FastLSTMError):
                raise
            return
        for step in turn:
            step.state.waiting -= 1
            self._settle(step)

    def _settle(self, step: Step) -> None:
        """Tell whoever waits for a step."""
        try:
            found = self._answered(step)
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            settle(step, error)
        else:
            settle(step, found)

    def _lose(self, step: Step, error: BaseException) -> None:
        """What becomes of a step that was not computed, or nobody knows."""
        step.state.waiting -= 1
        if isinstance(error, RefusedError) and error.status != TIME_OUT:  # it was not begun
            step.error = error
            self._settle(step)
            return
        step.state.lost = f"its state was lost: {error}" if isinstance(error, FastLSTMError) else "its state was lost"
        step.state.computed = True  # perhaps
        if self._states.get(step.state.key) is step.state:
            self.drop(step.state.key, step.state.lost)
        else:
            self._release(step.state)
        settle(step, error if isinstance(error, Exception) else RefusedError(503, "the service is shutting down"))

    def _turn(self) -> list[Step]:
        """What can be computed in one call, in the order of arrival: of each sequence its first step that waits, all of one form."""
        turn, later, seen = list[Step](), deque[Step](), set[State]()
        form = self._waiting[0].form
        while self._waiting and len(turn) < TOGETHER:
            step = self._waiting.popleft()
            if step.form == form and step.state not in seen and (step.call is None or not turn):
                turn.append(step)
                if step.call is not None:
                    break
            else:
                later.append(step)
            seen.add(step.state)
        later.extend(self._waiting)
        self._waiting = later
        return turn

    def _compute(self, turn: Sequence[Step]) -> None:
        """Compute some steps, of a sequence each: together if that pays, else one by one. What fails alone fails alone."""
        thread = threading.get_ident()
        self._inside.add(thread)
        try:
            if self._pays(turn):
                try:
                    self._advance(turn)
                    return
                except (FastLSTMError, MemoryError):
                    pass  # every state is as it was
            for step in turn:
                try:
                    self._advance([step])
                except Exception as error:  # noqa: BLE001 - it belongs to one step
                    step.error = self._explained(error, step.state, step.length)
        finally:
            self._inside.discard(thread)

    def _pays(self, turn: Sequence[Step]) -> bool:
        """Are several steps computed in one call?"""
        return len(turn) > 1 and self._among < self._alone and self._known.together([step.state for step in turn])

    def _advance(self, turn: Sequence[Step]) -> None:
        for step in turn:
            if step.state.lost:
                raise RefusedError(400, must_start(step.state.key, self.name, step.state.lost))
        if turn[0].call is not None:
            turn[0].y = turn[0].call()
            return
        joined = turn[0].values
        if len(turn) > 1:
            joined = {info.name: np.concatenate([step.values[info.name] for step in turn]) for info in self.inputs}
        given = joined[self.inputs[0].name] if len(joined) == 1 else joined
        found = turn[0].state.served.named(self._known.advance([step.state for step in turn], given, turn[0].form))
        for n, step in enumerate(turn):
            step.state.computed, step.state.steps = True, step.state.steps + step.length
            step.y = found if len(turn) == 1 else {name: y[n : n + 1] for name, y in found.items()}

    def _answered(self, step: Step) -> Any:
        """The outputs of a step that was computed, or its error."""
        state = step.state
        if step.error is not None and not state.computed and not state.lost:
            state.lost = "its first request failed"
            if self._states.get(state.key) is state:
                self._take_out(state.key)
        if step.end or state.lost or self._states.get(state.key) is not state:
            self._release(state)
        if step.error is not None:
            raise step.error
        return step.y

    def _measure(self) -> None:
        """Find out what a timestep costs: alone, and among others."""
        self.costs(*self._known.costs(self.inputs))
