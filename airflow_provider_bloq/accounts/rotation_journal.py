"""The recorded state of a rotation, from which the next try of the task continues."""

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

    #: A pair is about to be created, or was created without its client ID being recorded.
    CREATING = "creating"
    #: The client ID of the new pair is known; Vault may hold the pair or not.
    CREATED = "created"
    #: Vault holds the new pair; the old one is to be deleted after the grace period.
    STORED = "stored"
    #: Several pairs may be the one that was created; a person has to decide.
    DISPUTED = "disputed"
    #: The old pair is deleted, and the pair in Vault works.
    DONE = "done"


@dataclass(frozen=True, slots=True)
class RotationEntry:
    """The state of one rotation: client IDs and times, never a secret.

    :param phase: How far it has come.
    :param target: The Accounts URL and the secret in Vault.
    :param generation: As in :class:`~airflow_provider_bloq.accounts.rotation.RotationOptions`.
    :param old_id: Client ID in Vault when the rotation began.
    :param version: Version of the secret in Vault at that time.
    :param known_ids: Client IDs of the account at that time.
    :param listed_at: When these were listed, in epoch seconds by Accounts' clock.
    :param new_id: Client ID of the new pair.
    :param kv_version: Version of the secret that holds the new pair.
    :param grace_until: When the old pair may be deleted, in epoch seconds.
    :param candidates: If disputed: the client IDs in question with their times of creation.
    :param outcome: If done: the result.
    """

    phase: RotationPhase
    target: str
    generation: int
    old_id: str
    version: int
    known_ids: tuple[str, ...]
    listed_at: float
    new_id: str = ""
    kv_version: int = 0
    grace_until: float = 0.0
    candidates: tuple[tuple[str, str | None], ...] = ()
    outcome: Mapping[str, Any] | None = None

    def stored(self, kv_version: int, grace_until: float) -> RotationEntry:
        """Return the entry for the time after the new pair was written to Vault."""
        return replace(self, phase=RotationPhase.STORED, kv_version=kv_version, grace_until=grace_until)

    def to_json(self) -> dict[str, Any]:
        """Return the entry as JSON values."""
        return {
            **asdict(self),
            # Airflow's state store accepts lists, not tuples.
            "phase": self.phase.value,
            "known_ids": list(self.known_ids),
            "candidates": [list(candidate) for candidate in self.candidates],
        }

    @classmethod
    def from_json(cls, fields: Any) -> RotationEntry:
        """Read the result of :meth:`to_json`.

        :raises BloqRotationHalted: The value is something else.
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
                "provider may have written it. Compare the account's client keys with those in Vault, delete the "
                "ones that are not in use, and delete the journal from the task's state."
            ) from None


class RotationJournal(Protocol):
    """Keeps one JSON value, even if the worker dies. May block."""

    def read(self) -> Any:
        """Return the value; None if there is none."""

    def write(self, value: dict[str, Any]) -> None:
        """Replace the value; it is stored safely when this returns."""

    def clear(self) -> None:
        """Delete the value."""


class StateStoreJournal:
    """The journal in Airflow's task state store, which outlives the tries of a task instance.

    :param store: ``context["task_state_store"]`` (Airflow 3.3 and later).
    :param retention: How long the value is kept; Airflow's default may be shorter than a grace period.
    """

    KEY = "bloq_rotation"

    def __init__(self, store: Any, retention: timedelta) -> None:
        self._store = store
        self._retention = retention

    def read(self) -> Any:
        return self._store.get(self.KEY)

    def write(self, value: dict[str, Any]) -> None:
        self._store.set(self.KEY, value, retention=self._retention)

    def clear(self) -> None:
        self._store.delete(self.KEY)
