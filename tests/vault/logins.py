"""What the tests of Vault logins share: the login, and guards against waiting for ever."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from airflow_provider_bloq.testing.openbao import SeenRequest

__all__ = ["LOGIN", "LONGEST", "ends_in_time", "held_by_a_thread", "login_as"]

LOGIN = SeenRequest("update", "auth/approle/login")
#: Only keeps a failing test from hanging, in seconds.
LONGEST = 240


def login_as(connect: Any, role: Any, **fields: Any) -> None:
    """Have the Vault connection log in by a role."""
    connect(login=role.role_id, password=role.secret_id, extra={"auth_type": "approle"}, **fields)


@contextmanager
def ends_in_time() -> Iterator[None]:
    """Raise in what waits for a lock for ever."""

    def give_up(*_: object) -> None:
        raise AssertionError("it does not end")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LONGEST // 2)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def held_by_a_thread(lock: AbstractContextManager[Any]) -> Iterator[None]:
    """Have another thread hold a lock."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            release.wait(LONGEST)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(LONGEST)
        yield
    finally:
        release.set()
        holder.join()
