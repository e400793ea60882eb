"""One open hook per connection and event loop: all that wait through a connection share its reading."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import replace
from importlib import import_module

from airflow.providers.common.compat.sdk import AirflowNotFoundException

from airflow_provider_bloq.exceptions import BloqUnavailable
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.triggers.completion import to_the_end
from airflow_provider_bloq.triggers.crowd import Crowd
from airflow_provider_bloq.triggers.pauses import may_pass, pause_after

__all__ = ["OpenHook", "OpenHooks", "account_of", "open_hook"]

#: Seconds after which newcomers read a connection anew, in case somebody has changed it. Those who wait go
#: on with what they have.
READ_ANEW_AFTER = 600.0

#: What a hook loads when it is opened. On the event loop that would take a tenth of a second from all others.
_NEEDED = (
    "airflow.providers.common.compat.connection",
    "airflow_provider_bloq.hooks.connect_stream",
    "airflow_provider_bloq.hooks.connecting",
    "airflow_provider_bloq.hooks.masking",
    "airflow_provider_bloq.hooks.observing",
    "airflow_provider_bloq.hooks.wiring",
    "airflow_provider_bloq.transport.awaiting",
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
        self._crowd = Crowd()
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
            if not may_pass(error):
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
