"""When a listener to the stream that lost its connection tries again. Nothing here waits or connects."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_bloq.auth.bearer import CLIMBS

__all__ = ["STEADY", "StreamRecord"]

#: Seconds that a connection must have lasted to make up for the failures before it. One that ends sooner may be
#: let in and thrown out for ever.
STEADY = 10.0


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """What went wrong since the last connection that lasted.

    :param failures: Connections that ended or did not come about, for another reason than the token.
    :param refusals: Connections that ended or did not come about because of the token.
    """

    failures: int = 0
    refusals: int = 0

    def after(self, *, lasted: float, is_about_token: bool) -> StreamRecord:
        """Return the record after the end of another connection.

        :param lasted: Seconds from its coming in to its end; 0 where it did not come in.
        :param is_about_token: Whether its token was the reason.
        """
        before = StreamRecord() if lasted >= STEADY else self
        if is_about_token:
            return StreamRecord(before.failures, before.refusals + 1)
        return StreamRecord(before.failures + 1, before.refusals)

    @property
    def may_try_at_once(self) -> bool:
        """Whether a fresh token is all that is needed: as often as for any request, and no oftener."""
        return 0 < self.refusals <= CLIMBS

    @property
    def is_hopeless(self) -> bool:
        """Whether tokens that were made for the purpose have been refused again and again."""
        return self.refusals > CLIMBS
