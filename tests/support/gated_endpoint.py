"""A token endpoint whose grants wait until a test lets them go."""

from __future__ import annotations

import asyncio
import os
import select
import threading
import weakref
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_bloq.auth.credentials import ClientKeys, KeyReading, Secret
from airflow_provider_bloq.auth.token_provider import TokenReply
from airflow_provider_bloq.flow.effects import Flow, LoadKeys
from tests.support.scripted_bloq import signed_token

__all__ = ["LONGEST", "Gate", "GatedEndpoint", "HandClock", "Holdup"]

#: No test waits this long; it only keeps one that fails from hanging.
LONGEST = 60.0


class Gate:
    """Like :class:`threading.Event`, but without a lock, so that a signal handler may use it as well.

    A handler that runs while its own thread is inside ``Event.set`` or ``Event.wait`` would wait for itself.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        weakref.finalize(self, _close, self._reader, self._writer)

    def set(self) -> None:
        os.write(self._writer, b".")

    def clear(self) -> None:
        while self.wait(0):
            os.read(self._reader, 4096)

    def wait(self, timeout: float) -> bool:
        return bool(select.select([self._reader], [], [], timeout)[0])


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class HandClock:
    """Monotonic time, set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Holdup:
    """Stands in the place of a key source, so that a flow can be held up with either driver."""

    entered: Gate = field(default_factory=Gate)
    released: Gate = field(default_factory=Gate)
    #: The thread that was held up.
    thread: int | None = None
    #: How often something was held up.
    entries: int = 0
    #: Raised, once, instead of going on.
    failure: BaseException | None = None

    description: str = "a holdup"
    identity: tuple[str, ...] = ("holdup",)

    def load(self) -> KeyReading:
        self.thread = threading.get_ident()
        self.entries += 1
        self.entered.set()
        assert self.released.wait(LONGEST)
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        return KeyReading(ClientKeys("id", Secret("secret")))

    async def aload(self) -> KeyReading:
        return await asyncio.to_thread(self.load)

    def forget(self) -> None:
        """Nothing is kept."""


@dataclass
class GatedEndpoint:
    """Grants ``iat``–``exp`` tokens of an hour, each of its own, and counts both grants."""

    holdup: Holdup = field(default_factory=Holdup)
    mints: int = 0
    refreshes: int = 0

    def mint(self, keys: ClientKeys, *, retry: bool) -> Flow[TokenReply]:
        yield LoadKeys(self.holdup)
        self.mints += 1
        return self._reply()

    def refresh(self, refresh_token: Secret, *, retry: bool) -> Flow[TokenReply]:
        yield LoadKeys(self.holdup)
        self.refreshes += 1
        return self._reply()

    def _reply(self) -> TokenReply:
        claims: dict[str, Any] = {"iat": 0, "exp": 3600, "n": self.mints + self.refreshes}
        return TokenReply(Secret(signed_token(**claims)), Secret("refresh"))
