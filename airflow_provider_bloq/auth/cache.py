"""One token provider per credential and process, so that all hooks of a task share its tokens."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from airflow_provider_bloq.auth.token_provider import TokenProvider

__all__ = [
    "ProviderCache",
    "credential_key",
    "shared_providers",
]


def credential_key(accounts_url: str, identity: tuple[str, ...]) -> str:
    """Return a digest that identifies a credential and may be logged.

    :param accounts_url: Accounts that issues the tokens.
    :param identity: The key source's identity; a connection id alone is not enough, since the connection can change.
    """
    digest = hashlib.sha256()
    for part in (accounts_url, *identity):
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()


@dataclass(slots=True)
class _Entry:
    provider: TokenProvider
    leases: int = 0
    #: Whether to keep it for the life of the process. A task's process ends with its task.
    held: bool = False

    @property
    def is_unused(self) -> bool:
        remaining = self.provider.expires_in
        return not self.held and not self.leases and (remaining is None or remaining <= 0)


class ProviderCache:
    """Token providers by credential key.

    A task *holds* its provider for the life of its process. In the triggerer, which runs for weeks, each trigger takes
    a *lease*; a provider without leases is dropped when its token has expired.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def forget(self) -> None:
        """Become empty, and reset the providers, which hooks made before the fork still use.

        For a forked child, which must not use the tokens of its parent.
        """
        self._lock = threading.Lock()
        for entry in self._entries.values():
            entry.provider.forget()
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def hold(self, key: str, make: Callable[[], TokenProvider]) -> TokenProvider:
        """Return the provider of a credential; it is made on first use and kept for the life of the process."""
        with self._lock:
            entry = self._entry(key, make)
            entry.held = True
            return entry.provider

    @contextmanager
    def lease(self, key: str, make: Callable[[], TokenProvider]) -> Iterator[TokenProvider]:
        """Return the provider of a credential for the duration of a ``with`` block."""
        with self._lock:
            entry = self._entry(key, make)
            entry.leases += 1
        try:
            yield entry.provider
        finally:
            with self._lock:
                entry.leases -= 1

    def _entry(self, key: str, make: Callable[[], TokenProvider]) -> _Entry:
        for unused in [other for other, entry in self._entries.items() if other != key and entry.is_unused]:
            del self._entries[unused]
        if key not in self._entries:
            self._entries[key] = _Entry(make())
        return self._entries[key]


shared_providers = ProviderCache()

# A worker forks its tasks from a process that may have tested a connection: without this, all later tasks would use
# the tokens of that test.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=shared_providers.forget)
