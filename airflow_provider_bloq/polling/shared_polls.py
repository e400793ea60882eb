"""Work that goes on although whoever asked for it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_bloq.exceptions import BloqUnavailable
from airflow_provider_bloq.flow.effects import Flow, emit
from airflow_provider_bloq.flow.events import Event
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.polling.conditions import Target
from airflow_provider_bloq.polling.poll import (
    Poll,
    PushListener,
    Subscription,
    SupportsPush,
    WaiterQueue,
    is_transient,
    pause_after,
)

__all__ = [
    "OpenHook",
    "OpenHooks",
    "PollHandle",
    "Polls",
    "account_of",
    "open_hook",
    "shared_polls",
    "to_the_end",
]


T = TypeVar("T")

#: The event loop itself holds its tasks weakly.
_under_way: set[asyncio.Task[Any]] = set()


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await work that is finished in any case, such as the closing of what was opened.

    :param work: What to do.
    :return: What it returns.
    """
    task = asyncio.create_task(work)
    _under_way.add(task)
    task.add_done_callback(_under_way.discard)
    # Not asyncio.shield: were this call cancelled, that would report the task's error as never retrieved.
    await asyncio.wait([task])
    return task.result()


#: Seconds after which newcomers read a connection anew, in case somebody has changed it. Those who wait go
#: on with what they have.
READ_ANEW_AFTER = 600.0

#: What a hook loads when it is opened. On the event loop that would take a tenth of a second from all others.
_NEEDED = (
    "airflow.providers.common.compat.connection",
    "airflow_provider_bloq.hooks.bloq_async",
    "airflow_provider_bloq.hooks._account",
    "airflow_provider_bloq.connection.masking",
    "airflow_provider_bloq.hooks._telemetry",
    "airflow_provider_bloq.hooks._account",
    "airflow_provider_bloq.flow.async_driver",
)

#: Opens a hook on the running event loop.
Opener = Callable[[str], Awaitable[BloqAsyncHook]]


async def open_hook(conn_id: str) -> BloqAsyncHook:
    """Open the hook of a connection.

    :param conn_id: Id of the connection.
    :raises BloqUnavailable: There is no such connection, or Airflow could not tell.
    """
    await asyncio.to_thread(_load_what_is_needed)
    try:
        return await BloqAsyncHook(conn_id).__aenter__()
    except AirflowNotFoundException as missing:
        # So it says, too, where its API server did not answer. The worker has just seen the connection.
        raise BloqUnavailable(
            f"The connection {conn_id!r} cannot be read here: {missing}", acted=False
        ) from missing


def _load_what_is_needed() -> None:
    for name in _NEEDED:
        import_module(name)


def account_of(hook: BloqAsyncHook) -> Hashable:
    """Return what two hooks have in common that see and may do the same, whatever their connections are called.

    Besides the credential these are all settings: each has a part in how a request is sent.
    """
    return hook.credential_key, replace(hook.settings, conn_id="", client_keys=None, vault=None)


class OpenHook:
    """The hook of one connection, opened when first asked for, and closed when its last holder has let go.

    :param conn_id: Id of the connection.
    :param opener: Opens it.
    """

    def __init__(self, conn_id: str, opener: Opener) -> None:
        self.conn_id = conn_id
        #: How many want it to stay open.
        self.holders = 0
        self._opener = opener
        self._attempt: asyncio.Future[BloqAsyncHook] | None = None
        self._task: asyncio.Task[None] | None = None
        self._crowd = WaiterQueue()
        self._is_known_to_all = asyncio.Event()
        self._failures = 0
        self._pause = 0.0
        self._opened_at: float | None = None
        self._is_retired = False

    @property
    def is_for_newcomers(self) -> bool:
        """Whether who comes now should share it, rather than read the connection anew."""
        if self._is_retired or self._opened_at is None:
            return not self._is_retired
        return asyncio.get_running_loop().time() - self._opened_at <= READ_ANEW_AFTER

    def retire(self) -> None:
        """Have newcomers read the connection anew: what it says may have been the mistake."""
        self._is_retired = True

    async def opened(self) -> BloqAsyncHook:
        """Return the hook as soon as it is open; for those who hold it.

        All who wait for it share one attempt. After one that failed there is a pause before the next.

        :raises BaseException: The attempt failed; the same error is raised for all who waited for it.
        """
        attempt = self._attempt
        if attempt is None or (attempt.done() and attempt.exception() is not None):
            attempt = self._attempt = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._try(attempt, self._pause))
        while not attempt.done():
            await self._crowd.wait()
        if error := attempt.exception():
            # Else each waiter that raises it would add its own frames to those of the others.
            raise error.with_traceback(None)
        return attempt.result()

    async def known_to_all(self) -> None:
        """Wait until it is open, and all who waited for that have been woken."""
        await self._is_known_to_all.wait()

    async def _try(self, attempt: asyncio.Future[BloqAsyncHook], pause: float) -> None:
        await asyncio.sleep(pause)
        try:
            hook = await self._opener(self.conn_id)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # Airflow has errors that are none of Exception. Whatever happened, nobody must be left waiting.
            self._failures += 1
            self._pause = pause_after(self._failures, error)
            if not is_transient(error):
                self.retire()
            attempt.set_exception(error)
            # Asyncio need not report that nobody asked: all who did may have been cancelled.
            attempt.exception()
        else:
            self._opened_at = asyncio.get_running_loop().time()
            attempt.set_result(hook)
        await self._crowd.wake()
        if attempt.exception() is None:
            self._is_known_to_all.set()

    async def close(self) -> None:
        """Close it, or stop opening it. Nobody waits for it any more."""
        if self._task is None or self._attempt is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._attempt.done() and self._attempt.exception() is None:
            await self._attempt.result().__aexit__(None, None, None)


class OpenHooks:
    """The open hooks of one event loop, by the ids of their connections.

    :param opener: Opens a hook.
    """

    def __init__(self, opener: Opener = open_hook) -> None:
        self._opener = opener
        self._by_id: dict[str, OpenHook] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def hold(self, conn_id: str) -> OpenHook:
        """Return the hook of a connection, to be let go later; nothing is read yet.

        :param conn_id: Id of the connection.
        """
        hook = self._by_id.get(conn_id)
        if hook is None or not hook.is_for_newcomers:
            hook = self._by_id[conn_id] = OpenHook(conn_id, self._opener)
        return self.hold_on(hook)

    def hold_on(self, hook: OpenHook) -> OpenHook:
        """Hold a hook once more that is held already."""
        hook.holders += 1
        return hook

    async def let_go(self, hook: OpenHook) -> None:
        """Hold a hook no more; with its last holder it is closed."""
        hook.holders -= 1
        if not hook.holders:
            if self._by_id.get(hook.conn_id) is hook:
                del self._by_id[hook.conn_id]
            await to_the_end(hook.close())


#: What tells one poll from another: who looks, and what at.
_Key: TypeAlias = tuple[Hashable, Target]


class Polls:
    """The polls of one event loop; ask :func:`shared_polls` for them.

    :param opener: Opens the hook of a connection.
    """

    def __init__(self, opener: Opener = open_hook) -> None:
        self._hooks = OpenHooks(opener)
        self._running: dict[_Key, _SharedPoll] = {}

    def __len__(self) -> int:
        return len(self._running)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is polled and no hook is held."""
        return not self._running and not len(self._hooks)

    @asynccontextmanager
    async def watch(
        self, conn_id: str, target: Target, *, interval: float, interest: Hashable | None = None
    ) -> AsyncIterator[PollHandle]:
        """Watch something for the time of a ``with`` block; nothing is read before the first look.

        :param conn_id: Id of the connection.
        :param target: What is watched.
        :param interval: Seconds between two looks. If others watch the same thing, the shortest interval holds.
        :param interest: What the looks must ask for on behalf of this one.
        """
        hook = self._hooks.hold(conn_id)
        watch = PollHandle(self, hook, target, interval, interest)
        try:
            yield watch
        finally:
            try:
                await watch.leave()
            finally:
                await self._hooks.let_go(hook)

    def join(self, owner: OpenHook, hook: BloqAsyncHook, target: Target) -> _SharedPoll:
        """Return the poll of a target, to be left later; if there is none, this hook makes it.

        :param owner: What keeps the hook open.
        :param hook: The hook.
        :param target: What is watched.
        """
        key = (account_of(hook), target)
        shared = self._running.get(key)
        if shared is None or shared.poll.is_over:
            observe = target.poll_with(hook)
            poll = Poll(lambda interests: hook.run(_counted(observe(interests), poll)), owner.known_to_all)
            news = target.news(hook) if isinstance(target, SupportsPush) else None
            heeding = PushListener(news, poll) if news is not None else None
            shared = self._running[key] = _SharedPoll(key, self._hooks.hold_on(owner), poll, heeding)
        return shared

    async def leave(self, shared: _SharedPoll) -> None:
        """Leave a poll; with its last waiter it ends."""
        if shared.poll.is_deserted:
            if self._running.get(shared.key) is shared:
                del self._running[shared.key]
            await to_the_end(self._end(shared))

    async def _end(self, shared: _SharedPoll) -> None:
        if shared.heeding is not None:
            await shared.heeding.end()
        await shared.poll.end()
        await self._hooks.let_go(shared.owner)


@dataclass(frozen=True, slots=True, eq=False)
class _SharedPoll:
    """A poll, with what keeps the hook open through which it looks, and what hastens it."""

    key: _Key
    owner: OpenHook
    poll: Poll
    heeding: PushListener | None


class PollHandle:
    """What one waiter sees of a target.

    :param polls: The polls of this event loop.
    :param owner: The hook of its connection.
    :param target: What is watched.
    :param interval: Seconds between two looks.
    :param interest: What the looks must ask for.
    """

    def __init__(
        self, polls: Polls, owner: OpenHook, target: Target, interval: float, interest: Hashable | None
    ) -> None:
        self._polls = polls
        self._owner = owner
        self._target = target
        self._interval = interval
        self._interest = interest
        self._shared: _SharedPoll | None = None
        self._seat: Subscription | None = None

    async def look(self) -> Any:
        """Wait for the next look: the first time for one that is recent enough, then for each further one.

        There is a pause after each that failed, so that it may be called again at once.

        :return: What was seen.
        :raises BloqError: The connection cannot be read, or the look failed. If ``retryable``, the next
            one may succeed.
        """
        try:
            if self._seat is None:
                hook = await self._owner.opened()
                self._shared = self._polls.join(self._owner, hook, self._target)
                self._seat = self._shared.poll.join(self._interval, self._interest)
            return await self._seat.look()
        except Exception as error:
            if not is_transient(error):
                self._owner.retire()
            raise

    def hasten(self) -> None:
        """Have the next look made soon, whatever the interval. A pause after a failure is not cut short."""
        if self._shared is not None:
            self._shared.poll.hasten()

    async def leave(self) -> None:
        """Wait no more."""
        if self._shared is not None and self._seat is not None:
            self._shared.poll.leave(self._seat)
            await self._polls.leave(self._shared)


def _counted(look: Flow[Any], poll: Poll) -> Flow[Any]:
    """Look, and tell for how many that was."""
    seen = yield from look
    yield from emit(Event("poll", f"Looked once for {poll.waiters} waiting", waiters=poll.waiters))
    return seen


#: By event loop; an entry goes with its loop.
_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Polls] = WeakKeyDictionary()


def shared_polls() -> Polls:
    """Return the polls of the running event loop."""
    for closed in [loop for loop in list(_by_loop) if loop.is_closed()]:
        # What was still polled then holds on to its loop.
        _by_loop.pop(closed, None)
    return _by_loop.setdefault(asyncio.get_running_loop(), Polls())
