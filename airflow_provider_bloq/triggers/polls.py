"""The polls of an event loop: all that wait for the same thing through the same account share one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from airflow_provider_bloq.auth.events import Looked
from airflow_provider_bloq.auth.flow import Flow, tell
from airflow_provider_bloq.conditions.condition import Target
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.triggers.announcing import Announced, Heeding
from airflow_provider_bloq.triggers.completion import to_the_end
from airflow_provider_bloq.triggers.open_hooks import Opener, OpenHook, OpenHooks, account_of, open_hook
from airflow_provider_bloq.triggers.pauses import may_pass
from airflow_provider_bloq.triggers.poll import Poll, Seat

__all__ = ["Polls", "Watch", "shared_polls"]

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
    ) -> AsyncIterator[Watch]:
        """Watch something for the time of a ``with`` block; nothing is read before the first look.

        :param conn_id: Id of the connection.
        :param target: What is watched.
        :param interval: Seconds between two looks. If others watch the same thing, the shortest interval holds.
        :param interest: What the looks must ask for on behalf of this one.
        """
        hook = self._hooks.hold(conn_id)
        watch = Watch(self, hook, target, interval, interest)
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
            observe = target.observer(hook)
            poll = Poll(lambda interests: hook.run(_counted(observe(interests), poll)), owner.known_to_all)
            news = target.news(hook) if isinstance(target, Announced) else None
            heeding = Heeding(news, poll) if news is not None else None
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
    heeding: Heeding | None


class Watch:
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
        self._seat: Seat | None = None

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
            if not may_pass(error):
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
    yield from tell(Looked(poll.waiters))
    return seen


#: By event loop; an entry goes with its loop.
_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Polls] = WeakKeyDictionary()


def shared_polls() -> Polls:
    """Return the polls of the running event loop."""
    for closed in [loop for loop in list(_by_loop) if loop.is_closed()]:
        # What was still polled then holds on to its loop.
        _by_loop.pop(closed, None)
    return _by_loop.setdefault(asyncio.get_running_loop(), Polls())
