"""The life of a listener to Connect's stream: connected again after each end, with a good token, for ever.

Nothing depends on the stream alone. Whoever listens also looks over REST from time to time, so that trouble here
is logged and never raised.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Protocol

from airflow_provider_bloq.auth.bearer import BearerAuth
from airflow_provider_bloq.clients.operation import AsyncRunner
from airflow_provider_bloq.clients.stream_packets import Event
from airflow_provider_bloq.clients.stream_record import StreamRecord
from airflow_provider_bloq.exceptions import BloqError, BloqUnsafeAddress
from airflow_provider_bloq.hooks.retry_advice import Pace, advice_on
from airflow_provider_bloq.transport.stream import StreamDoor, StreamEnded

__all__ = ["RECONNECTING", "Listener", "StreamLife"]

log = logging.getLogger(__name__)

#: After one failure half a second to one passes until the next try; it doubles, up to five minutes.
RECONNECTING = Pace(first=1.0, cap=300.0)
#: Seconds between two tries where only a person can mend what is wrong, such as a stream that there is not.
SELDOM = 900.0


class Listener(Protocol):
    """Who listens. Its methods take note and return; what is to be done is done elsewhere."""

    def joined(self) -> None:
        """Take note that from here on all is heard, and that before something may have been missed."""

    def heard(self, event: Event) -> None:
        """Take note of an event."""


@dataclass(frozen=True, slots=True)
class StreamLife:
    """Keeps listeners connected.

    :param door: Where the stream is.
    :param bearer: Gives tokens, and knows whom they may be shown.
    :param run: Drives flows.
    :param pace: How patiently it connects again.
    :param sleep: Lets seconds pass before it does.
    :param random: Gives a number from 0 to 1, for the jitter.
    """

    door: StreamDoor
    bearer: BearerAuth
    run: AsyncRunner
    pace: Pace = RECONNECTING
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = field(default=random.random, repr=False)

    @asynccontextmanager
    async def led(self, listener: Listener, joining: Sequence[str]) -> AsyncIterator[None]:
        """Keep a listener connected for the time of a ``with`` block. Does not wait until it is.

        :param listener: Who listens.
        :param joining: The packets that join its rooms.
        :raises BloqUnsafeAddress: The token may not be shown there.
        """
        if not self.bearer.origins.covers(self.door.url):
            raise BloqUnsafeAddress(f"{self.door.url} is at no origin that the access token may be shown to.")
        living = asyncio.create_task(self._live(listener, joining))
        try:
            yield
        finally:
            living.cancel()
            await asyncio.wait([living])

    async def _live(self, listener: Listener, joining: Sequence[str]) -> None:
        record = StreamRecord()
        while True:
            lasted, error = await self._one_connection(listener, joining, record)
            is_about_token = isinstance(error, StreamEnded) and error.is_about_token
            record = record.after(lasted=lasted, is_about_token=is_about_token)
            if is_about_token and record.may_try_at_once:
                log.info("%s Connecting again with another token.", error)
                continue
            pause = self._pause(error, record)
            # What is none of Bloq's errors may quote anything, and is told by its class alone.
            told = str(error) if isinstance(error, BloqError) else type(error).__name__
            log.warning("The stream is not heard for %.0f s, REST goes on: %s", pause, told)
            await self.sleep(pause)

    async def _one_connection(
        self, listener: Listener, joining: Sequence[str], record: StreamRecord
    ) -> tuple[float, Exception]:
        """Listen until the connection ends.

        :return: For how many seconds it lasted, and why it ended.
        """
        clock = asyncio.get_running_loop().time
        since: float | None = None
        try:
            token = (await self.run(self.bearer.provider.token())).secret
            try:
                async with self.door.session(token, joining) as session:
                    since = clock()
                    listener.joined()
                    async for event in session.events():
                        listener.heard(event)
                raise session.ended("ended the connection")
            except StreamEnded as end:
                if end.is_about_token:
                    await self.run(self.bearer.provider.another(token, at_first_use=record.refusals > 0))
                raise
        except Exception as error:
            return 0.0 if since is None else clock() - since, error

    def _pause(self, error: Exception, record: StreamRecord) -> float:
        jitter = self.random()
        if record.is_hopeless:
            return SELDOM
        advice = advice_on(error, record.failures, jitter, self.pace)
        if advice is None:
            return self.pace.backoff(record.failures, jitter)
        return SELDOM if advice.pause is None else advice.pause
