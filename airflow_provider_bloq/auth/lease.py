"""The right to renew a shared token: one process in the whole fleet has it at a time."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from airflow_provider_bloq.auth.flow import Flow
from airflow_provider_bloq.auth.slot import Record, Slot
from airflow_provider_bloq.exceptions import BloqConfigurationError

__all__ = ["CLOCKS_APART", "LEASE_SECONDS", "Lease"]

#: How long a holder that is heard of no more keeps others from renewing, at least, in seconds.
LEASE_SECONDS = 20.0

#: By how much the clocks of a store's nodes may differ without harm, in seconds.
CLOCKS_APART = 120.0


class Lease:
    """A lease in a slot of its own, taken by check-and-set.

    One has run out when it was not written again while this process has watched it for so long, by its own
    monotonic clock. The age that the store tells is the clock of the node which answers against that of the
    node which wrote: 20 s between these would have every member renew at once. So it counts only where it is
    beyond such a difference, lest tasks that are too short to watch find a dead holder in their way for ever.

    Who was superseded and renews all the same does no harm: of two tokens, only the first that is written
    becomes the shared one.

    :param slot: Where it stands.
    :param seconds: How long it lasts at most; one that claims to last longer is not believed.
    :param clock: Monotonic clock, in seconds.
    """

    def __init__(
        self, slot: Slot, seconds: float = LEASE_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._slot = slot
        self._seconds = seconds
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """Become another holder. For a forked child."""
        self._holder = secrets.token_hex(8)
        self._watched: tuple[int, float] | None = None
        self._slot.forget()

    def take(self) -> Flow[int | None]:
        """Take the lease, if nobody has it. Whoever has it already may take it again.

        :return: What to give it back with; None where another has it.
        :raises BloqConfigurationError: The slot holds something else, or the store is set up wrongly.
        :raises BloqVaultUnavailable: The store cannot be reached.
        """
        record = yield from self._slot.read()
        if not self._is_free(record):
            return None
        return (yield from self._slot.write(self._record(self._seconds), after=record.version))

    def give_back(self, taken: int) -> Flow[None]:
        """Let others have it before it runs out; one that was superseded is not touched.

        :param taken: What :meth:`take` returned.
        """
        yield from self._slot.write(self._record(0.0), after=taken)

    def _is_free(self, record: Record) -> bool:
        if record.fields is None:
            return True
        holder, seconds = record.fields.get("holder"), record.fields.get("seconds")
        if not isinstance(holder, str) or isinstance(seconds, bool) or not isinstance(seconds, int | float):
            raise BloqConfigurationError.of(
                "shared_vault_path",
                f"{self._slot.description} holds a secret that is no lease",
                "Choose a shared_vault_path below which nothing else lies",
            )
        if holder == self._holder:
            return True
        lasts, now = min(float(seconds), self._seconds), self._clock()
        if self._watched is None or self._watched[0] != record.version:
            self._watched = (record.version, now)
        return now - self._watched[1] >= lasts or record.age >= lasts + CLOCKS_APART

    def _record(self, seconds: float) -> dict[str, str | float]:
        return {"holder": self._holder, "seconds": seconds}
