"""What a rotation notes about itself, so that the next try knows what the last one may have done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol

from airflow_provider_bloq.exceptions import BloqRotationHalted

__all__ = [
    "RotationEntry",
    "RotationJournal",
    "RotationPhase",
    "StateStoreJournal",
]


class RotationPhase(StrEnum):
    """How far a rotation has come."""

    #: A pair is about to be made, or was made without its client ID being noted.
    CREATING = "creating"
    #: The pair's client ID is known; Vault may hold the pair or not.
    CREATED = "created"
    #: Vault holds the pair; the old one is to be deleted after the grace period.
    STORED = "stored"
    #: Several pairs may be the one that was made; a person has been told.
    DISPUTED = "disputed"
    #: The old pair is deleted, and what Vault holds has been proved.
    DONE = "done"


@dataclass(frozen=True, slots=True)
class RotationEntry:
    """The state of one rotation. Holds client IDs and times, never a secret.

    :param phase: How far it has come.
    :param place: Accounts and the secret in Vault that it is about.
    :param generation: Tells the tries of one run from those after a clear.
    :param old_id: Client ID that Vault held when the rotation began.
    :param version: Version of the secret that was read then.
    :param known_ids: Client IDs that the account had then.
    :param begun_at: When they were listed, in epoch seconds by Accounts' clock.
    :param new_id: Client ID of the pair that was made.
    :param kv_version: Version of the secret that holds it.
    :param grace_until: When the old pair may be deleted, in epoch seconds.
    :param candidates: Of a disputed rotation, the client IDs in question with their times of creation.
    :param outcome: Of a rotation that is done, its result.
    """

    phase: RotationPhase
    place: str
    generation: int
    old_id: str
    version: int
    known_ids: tuple[str, ...]
    begun_at: float
    new_id: str = ""
    kv_version: int = 0
    grace_until: float = 0.0
    candidates: tuple[tuple[str, str | None], ...] = ()
    outcome: Mapping[str, Any] | None = None

    def stored(self, kv_version: int, grace_until: float) -> RotationEntry:
        """Return the entry for when Vault holds the new pair."""
        return replace(self, phase=RotationPhase.STORED, kv_version=kv_version, grace_until=grace_until)

    def to_json(self) -> dict[str, Any]:
        """Write it as plain JSON values."""
        return {
            **asdict(self),
            # Airflow takes lists for JSON, not tuples.
            "phase": self.phase.value,
            "known_ids": list(self.known_ids),
            "candidates": [list(candidate) for candidate in self.candidates],
        }

    @classmethod
    def from_json(cls, fields: Any) -> RotationEntry:
        """Read what :meth:`to_json` wrote.

        :raises BloqRotationHalted: It is something else.
        """
        try:
            return cls(
                **{
                    **fields,
                    "phase": RotationPhase(fields["phase"]),
                    "known_ids": tuple(fields["known_ids"]),
                    "candidates": tuple((str(one), created) for one, created in fields["candidates"]),
                }
            )
        except (TypeError, ValueError, KeyError) as error:
            raise BloqRotationHalted(
                f"The journal of the rotation cannot be read ({type(error).__name__}): another version of this "
                "provider may have written it. Compare the account's client keys with what Vault holds, delete what "
                "is in use nowhere, and delete the journal from the task's state."
            ) from None


class RotationJournal(Protocol):
    """A place that keeps one JSON value when the worker dies. May block."""

    def read(self) -> Any:
        """Return the value; None where there is none."""

    def write(self, value: dict[str, Any]) -> None:
        """Keep a value instead of the one before; it is safe when this returns."""

    def clear(self) -> None:
        """Drop the value."""


class StateStoreJournal:
    """The journal in Airflow's task state store, which outlives the tries of a task instance.

    :param store: ``context["task_state_store"]``, which Airflow has since 3.3.
    :param retention: How long a value is kept; Airflow's own default may be shorter than a grace period.
    """

    KEY = "bloq_rotation"

    def __init__(self, store: Any, retention: timedelta) -> None:
        self._store = store
        self._retention = retention

    def read(self) -> Any:
        """Return the value; None where there is none."""
        return self._store.get(self.KEY)

    def write(self, value: dict[str, Any]) -> None:
        """Keep a value instead of the one before."""
        self._store.set(self.KEY, value, retention=self._retention)

    def clear(self) -> None:
        """Drop the value."""
        self._store.delete(self.KEY)
