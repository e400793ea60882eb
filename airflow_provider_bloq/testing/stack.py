"""A local Bloq service and a local Vault that holds its client keys, as a team would set them up."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Self

from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions
from airflow_provider_bloq.testing.openbao import LocalVault
from airflow_provider_bloq.testing.team import KEYS_PATH, POLICY, ROLE, LocalTeam

__all__ = ["KEYS_PATH", "POLICY", "ROLE", "LocalStack"]


class LocalStack(LocalTeam):
    """Runs both and keeps the keys in Vault right; a context manager.

    :param options: Switches of the Bloq service.
    """

    def __init__(self, options: LocalBloqOptions | None = None) -> None:
        super().__init__(LocalBloq(options), LocalVault())
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            opened.enter_context(self.vault)
            opened.enter_context(self.bloq)
            self.settle()
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._opened.close()
