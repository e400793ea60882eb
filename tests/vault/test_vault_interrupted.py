"""Vault in forked children, beside other threads, and when a signal interrupts."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest

from airflow_provider_bloq.testing.openbao import LocalVault
from tests.vault.logins import LOGIN, LONGEST, ends_in_time, held_by_a_thread, login_as


def test_forget_drops_the_token_even_while_another_thread_holds_the_lock(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, watch: Any
) -> None:
    login_as(connect, vault.approle("forgotten", [stored.policy]))
    source = source_of(stored.path)
    source.load()
    # As in a child that was forked while a thread of its parent was loading.
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


@pytest.mark.parametrize("during", ["login", "read", "kept login"])
def test_a_signal_handler_that_needs_vault_does_not_wait_for_what_it_interrupts(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, relay: Any, watch: Any, during: str
) -> None:
    login_as(connect, vault.approle("killed", [stored.policy]), port=relay.port)
    source = source_of(stored.path)
    if during == "kept login":
        source.load()
    main, killed = threading.get_ident(), threading.Event()
    inner: list[str] = []

    def kill_at_first(path: str) -> None:
        if path.startswith("/v1/auth" if during == "login" else "/v1/secret") and not killed.is_set():
            killed.set()
            signal.pthread_kill(main, signal.SIGUSR1)
            assert done.wait(LONGEST)

    def on_kill(*_: object) -> None:
        inner.append(source.load().keys.client_id)
        done.set()

    done = threading.Event()
    relay.before = kill_at_first
    before = signal.signal(signal.SIGUSR1, on_kill)
    try:
        with watch() as seen, ends_in_time():
            outer = source.load().keys.client_id
    finally:
        done.set()
        signal.signal(signal.SIGUSR1, before)
    assert [outer, *inner] == [stored.client_id] * 2
    # One for each: what the handler interrupted may be half made.
    assert seen.count(LOGIN) == (1 if during == "kept login" else 2)
    with watch() as seen:
        source.load()
    assert LOGIN not in seen


def test_a_signal_handler_that_ends_the_task_leaves_an_access_that_works(
    vault: LocalVault, stored: Any, connect: Any, source_of: Any, relay: Any
) -> None:
    login_as(connect, vault.approle("ended", [stored.policy]), port=relay.port)
    source = source_of(stored.path)
    main, killed, ended = threading.get_ident(), threading.Event(), threading.Event()

    def kill_at_first(path: str) -> None:
        if not killed.is_set():
            killed.set()
            signal.pthread_kill(main, signal.SIGUSR1)
            assert ended.wait(LONGEST)

    def on_kill(*_: object) -> None:
        ended.set()
        raise SystemExit

    relay.before = kill_at_first
    before = signal.signal(signal.SIGUSR1, on_kill)
    try:
        with ends_in_time(), pytest.raises(SystemExit):
            source.load()
    finally:
        ended.set()
        signal.signal(signal.SIGUSR1, before)
    assert source.load().keys.client_id == stored.client_id
