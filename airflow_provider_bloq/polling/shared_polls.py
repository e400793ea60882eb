"""The polls of one event loop: waiters for the same target through the same account share one poll."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_bloq.exceptions import BloqUnavailable
from airflow_provider_bloq.flow.effects import Flow, emit
from airflow_provider_bloq.flow.events import Event
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.polling.poll import (
    Poll,
    PushListener,
    Subscription,
    SupportsPush,
    WaiterQueue,
    is_transient,
    pause_after,
)

if TYPE_CHECKING:
    from airflow_provider_bloq.polling.conditions import Target

__all__ = [
    "PollHandle",
    "Polls",
    "shared_polls",
]

#: Seconds after which new waiters read a connection again, since it may have been changed. Others keep theirs.
MAX_SETTINGS_AGE = 600.0
#: What opening a hook imports. On the event loop this would block all other work for a tenth of a second.
_IMPORTED_BY_HOOK = (
    "airflow.providers.common.compat.connection",
    "airflow_provider_bloq.connection.reading",
    "airflow_provider_bloq.flow.async_driver",
    "airflow_provider_bloq.hooks._account",
    "airflow_provider_bloq.hooks._telemetry",
)

#: Opens the hook of a connection on the running event loop.
HookOpener: TypeAlias = "Callable[[str], Awaitable[BloqAsyncHook]]"


async def open_hook(conn_id: str) -> BloqAsyncHook:
    """Open the hook of a connection.

    :raises BloqUnavailable: The connection cannot be read.
    """
    await asyncio.to_thread(lambda: [import_module(name) for name in _IMPORTED_BY_HOOK])
    try:
        return await BloqAsyncHook(conn_id).__aenter__()
    except AirflowNotFoundException as missing:
        # Airflow raises this as well if its API server did not answer. The worker has just seen the connection.
        raise BloqUnavailable(
            f"The connection {conn_id!r} cannot be read here: {missing}", acted=False
        ) from missing


class Polls:
    """The polls of one event loop; see :func:`shared_polls`.

    :param opener: Opens the hook of a connection.
    """

    def __init__(self, opener: HookOpener = open_hook) -> None:
        self._opener = opener
        #: By connection id.
        self._hooks: dict[str, _SharedHook] = {}
        self._running: dict[_PollKey, _SharedPoll] = {}

    def __len__(self) -> int:
        return len(self._running)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is polled and no hook is in use."""
        return not self._running and not self._hooks

    @asynccontextmanager
    async def subscribe(
        self, conn_id: str, target: Target, *, interval: float, interest: Hashable | None = None
    ) -> AsyncIterator[PollHandle]:
        """Subscribe to the poll of a target for a ``with`` block.

        :param conn_id: Id of the connection.
        :param target: What to poll.
        :param interval: Seconds between two polls. The shortest interval among all subscribers counts.
        :param interest: What the polls must ask for on behalf of this subscriber.
        """
        hook = self._hooks.get(conn_id)
        if hook is None or not hook.is_reusable:
            hook = self._hooks[conn_id] = _SharedHook(conn_id, self._opener)
        hook.users += 1
        handle = PollHandle(self, hook, target, interval, interest)
        try:
            yield handle
        finally:
            try:
                await handle.close()
            finally:
                await self._release(hook)

    def join(self, owner: _SharedHook, hook: BloqAsyncHook, target: Target) -> _SharedPoll:
        """Return the poll of a target; if there is none, this hook runs it.

        :param owner: Keeps the hook open.
        :param hook: The hook.
        :param target: What to poll.
        """
        key = (_account_of(hook), target)
        shared = self._running.get(key)
        if shared is None or shared.poll.is_over:
            poll_once = target.poll_with(hook)
            poll = Poll(
                lambda interests: hook.run(_counted(poll_once(interests), poll)), owner.until_all_woken
            )
            updates = target.updates(hook) if isinstance(target, SupportsPush) else None
            listener = PushListener(updates, poll) if updates is not None else None
            owner.users += 1
            shared = self._running[key] = _SharedPoll(key, owner, poll, listener)
        return shared

    async def leave(self, shared: _SharedPoll) -> None:
        """Leave a poll; the last subscriber stops it."""
        if not shared.poll.subscribers:
            if self._running.get(shared.key) is shared:
                del self._running[shared.key]
            await _run_to_completion(self._stop(shared))

    async def _stop(self, shared: _SharedPoll) -> None:
        if shared.listener is not None:
            await shared.listener.stop()
        await shared.poll.stop()
        await self._release(shared.owner)

    async def _release(self, hook: _SharedHook) -> None:
        hook.users -= 1
        if not hook.users:
            if self._hooks.get(hook.conn_id) is hook:
                del self._hooks[hook.conn_id]
            await _run_to_completion(hook.close())


class PollHandle:
    """One waiter's access to the poll of a target; see :meth:`Polls.subscribe`."""

    def __init__(
        self, polls: Polls, hook: _SharedHook, target: Target, interval: float, interest: Hashable | None
    ) -> None:
        self._polls = polls
        self._hook = hook
        self._target = target
        self._interval = interval
        self._interest = interest
        self._shared: _SharedPoll | None = None
        self._subscription: Subscription | None = None

    async def result(self) -> Any:
        """Wait for the next result; the first may be a recent one that others have already received.

        After a failure it can be called again at once: the poll itself pauses.

        :return: What the target's poll function returned.
        :raises BloqError: The connection cannot be read, or the poll failed.
        """
        try:
            if self._subscription is None:
                hook = await self._hook.opened()
                self._shared = self._polls.join(self._hook, hook, self._target)
                self._subscription = self._shared.poll.subscribe(self._interval, self._interest)
            return await self._subscription.result()
        except Exception as error:
            if not is_transient(error):
                self._hook.discard()
            raise

    def poll_soon(self) -> None:
        """Request the next poll without waiting for the interval."""
        if self._shared is not None:
            self._shared.poll.poll_soon()

    async def close(self) -> None:
        """End the subscription."""
        if self._shared is not None and self._subscription is not None:
            self._shared.poll.unsubscribe(self._subscription)
            await self._polls.leave(self._shared)


#: By event loop. An entry goes with its loop.
_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Polls] = WeakKeyDictionary()


def shared_polls() -> Polls:
    """Return the polls of the running event loop."""
    for closed in [loop for loop in list(_by_loop) if loop.is_closed()]:
        # A poll that still ran then would keep its loop alive.
        _by_loop.pop(closed, None)
    return _by_loop.setdefault(asyncio.get_running_loop(), Polls())


class _SharedHook:
    """The hook of one connection: opened for its first user, closed after its last.

    :param conn_id: Id of the connection.
    :param opener: Opens it.
    """

    def __init__(self, conn_id: str, opener: HookOpener) -> None:
        self.conn_id = conn_id
        self.users = 0
        self._opener = opener
        self._attempt: asyncio.Future[BloqAsyncHook] | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiters = WaiterQueue()
        self._all_woken = asyncio.Event()
        self._failures = 0
        self._pause = 0.0
        self._opened_at: float | None = None
        self._is_discarded = False

    @property
    def is_reusable(self) -> bool:
        """Whether new waiters share it instead of reading the connection again."""
        if self._is_discarded or self._opened_at is None:
            return not self._is_discarded
        return asyncio.get_running_loop().time() - self._opened_at <= MAX_SETTINGS_AGE

    def discard(self) -> None:
        """Make new waiters read the connection again, since it may have been wrong."""
        self._is_discarded = True

    async def opened(self) -> BloqAsyncHook:
        """Return the hook as soon as it is open.

        All users share one attempt. After a failed attempt there is a pause before the next.

        :raises BaseException: The attempt failed; every user gets the same error.
        """
        attempt = self._attempt
        if attempt is None or (attempt.done() and attempt.exception() is not None):
            attempt = self._attempt = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._open(attempt, self._pause))
        while not attempt.done():
            await self._waiters.wait()
        if error := attempt.exception():
            # Without the traceback, to which each waiter that raises the error would add its frames.
            raise error.with_traceback(None)
        return attempt.result()

    async def until_all_woken(self) -> None:
        """Wait until it is open and all who waited for that have been woken."""
        await self._all_woken.wait()

    async def _open(self, attempt: asyncio.Future[BloqAsyncHook], pause: float) -> None:
        await asyncio.sleep(pause)
        try:
            hook = await self._opener(self.conn_id)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # Some of Airflow's errors do not derive from Exception. Every error must reach the waiters.
            self._failures += 1
            self._pause = pause_after(self._failures, error)
            if not is_transient(error):
                self.discard()
            attempt.set_exception(error)
            # Marks the error as retrieved: all waiters may have been cancelled.
            attempt.exception()
        else:
            self._opened_at = asyncio.get_running_loop().time()
            attempt.set_result(hook)
        await self._waiters.wake()
        if attempt.exception() is None:
            self._all_woken.set()

    async def close(self) -> None:
        """Close it, or stop opening it."""
        if self._task is None or self._attempt is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._attempt.done() and self._attempt.exception() is None:
            await self._attempt.result().__aexit__(None, None, None)


#: Identifies a poll by account and target.
_PollKey: TypeAlias = "tuple[Hashable, Target]"


@dataclass(frozen=True, slots=True, eq=False)
class _SharedPoll:
    """A running poll, the hook it polls through, and the listener that requests polls early."""

    key: _PollKey
    owner: _SharedHook
    poll: Poll
    listener: PushListener | None


def _account_of(hook: BloqAsyncHook) -> Hashable:
    """Return a key that is equal for hooks that can share polls: the credential, and every setting of a request."""
    return hook.credential_key, replace(hook.settings, conn_id="", client_keys=None, vault=None)


def _counted(poll_once: Flow[Any], poll: Poll) -> Flow[Any]:
    seen = yield from poll_once
    count = poll.subscribers
    yield from emit(Event("poll", f"Polled once for {count} waiting", waiters=count))
    return seen


#: The event loop holds its tasks only weakly.
_running_tasks: set[asyncio.Task[None]] = set()


async def _run_to_completion(work: Coroutine[Any, Any, None]) -> None:
    """Await work that is finished even if this call is cancelled."""
    task = asyncio.create_task(work)
    _running_tasks.add(task)
    task.add_done_callback(_running_tasks.discard)
    # Not asyncio.shield: if this call were cancelled, that would report the task's error as never retrieved.
    await asyncio.wait([task])
    task.result()
