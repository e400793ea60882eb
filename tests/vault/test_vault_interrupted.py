"""The Vault client in forked children, beside other threads, and in signal handlers."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any, Self

import pytest

from airflow_provider_bloq.testing.openbao import LocalVault
from tests.vault.logins import LOGIN, LONGEST, ends_in_time, held_by_a_thread, login_as


def test_forget_drops_the_token_even_while_another_thread_holds_the_lock(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, watch: Any
) -> None:
    login_as(connect, vault.approle("forgotten", [stored.policy]))
    source = source_of(stored.path)
    source.load()
    # As in a child that was forked while a thread of its parent made a request.
    with held_by_a_thread(source._vault._lock):
        source.forget()
        with watch() as seen, ends_in_time():
            source.load()
    assert seen[0] == LOGIN


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_logs_in_by_itself(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, watch: Any
) -> None:
    login_as(connect, vault.approle("forked", [stored.policy]))
    source = source_of(stored.path)
    source.load()
    with held_by_a_thread(source._vault._lock), watch() as seen:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with ends_in_time():
                    status = 0 if source.load().keys.client_id == stored.client_id else 1
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert seen[0] == LOGIN
    with watch() as seen:
        source.load()
    assert LOGIN not in seen


class SignalDuringRequest:
    """Has the relay interrupt the main thread while that waits for the answer to a request.

    :param prefix: The request: the first one whose path begins with this.
    :param handle: Runs in the signal handler.
    """

    def __init__(self, relay: Any, prefix: str, handle: Callable[[], object]) -> None:
        self._relay, self._prefix, self._handle = relay, prefix, handle
        self._main = threading.get_ident()
        self._sent, self._handling, self._handled = threading.Event(), threading.Event(), threading.Event()

    def _before(self, path: str) -> None:
        if not path.startswith(self._prefix) or self._sent.is_set():
            return
        self._sent.set()
        # A signal that arrives just before the main thread begins to wait does not wake it.
        while not self._handling.wait(0.05):
            signal.pthread_kill(self._main, signal.SIGUSR1)
        assert self._handled.wait(LONGEST)

    def _on_signal(self, *_: object) -> None:
        if self._handling.is_set():
            return
        self._handling.set()
        try:
            self._handle()
        finally:
            self._handled.set()

    def __enter__(self) -> Self:
        self._previous = signal.signal(signal.SIGUSR1, self._on_signal)
        self._relay.before = self._before
        return self

    def __exit__(self, *_: object) -> None:
        self._handling.set()
        self._handled.set()
        signal.signal(signal.SIGUSR1, self._previous)


@pytest.mark.parametrize("during", ["login", "read", "kept login"])
def test_a_signal_handler_that_needs_vault_does_not_wait_for_the_interrupted_request(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, relay: Any, watch: Any, during: str
) -> None:
    login_as(connect, vault.approle("killed", [stored.policy]), port=relay.port)
    source = source_of(stored.path)
    if during == "kept login":
        source.load()
    inner: list[str] = []
    prefix = "/v1/auth" if during == "login" else "/v1/secret"
    with (
        SignalDuringRequest(relay, prefix, lambda: inner.append(source.load().keys.client_id)),
        watch() as seen,
        ends_in_time(),
    ):
        outer = source.load().keys.client_id
    assert [outer, *inner] == [stored.client_id] * 2
    # One login each: the interrupted one may be half done.
    assert seen.count(LOGIN) == (1 if during == "kept login" else 2)
    with watch() as seen:
        source.load()
    assert LOGIN not in seen


def test_a_signal_handler_that_ends_the_task_leaves_a_working_client(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, relay: Any
) -> None:
    login_as(connect, vault.approle("ended", [stored.policy]), port=relay.port)
    source = source_of(stored.path)

    def end_task() -> None:
        raise SystemExit

    with SignalDuringRequest(relay, "/", end_task), ends_in_time(), pytest.raises(SystemExit):
        source.load()
    assert source.load().keys.client_id == stored.client_id
