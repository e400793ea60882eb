"""A forked child acts with nothing of its parent's, whatever the parent was at."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.auth.token_provider import ClientKeysTokenProvider
from airflow_provider_bloq.flow.sync_driver import SyncDriver
from tests.support.drivers import blocking_driver
from tests.support.gated_endpoint import LONGEST, GatedEndpoint
from tests.support.scripted_bloq import RotatingKeys, ScriptedBloq


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    shared_providers.forget()
    yield
    shared_providers.forget()


def _in_child(check: Callable[[], None]) -> None:
    """Run a check in a forked child and fail if it does."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        failure = "the child did not get to its end"
        try:
            check()
            failure = ""
        except BaseException:
            failure = traceback.format_exc()
        finally:
            os.write(write_end, failure.encode())
            os._exit(1 if failure else 0)
    os.close(write_end)
    with os.fdopen(read_end) as stream:
        failure = stream.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, failure


def test_a_child_starts_with_an_empty_cache_and_can_mint_by_itself(
    bloq: ScriptedBloq, source: RotatingKeys, provider: ClientKeysTokenProvider
) -> None:
    shared_providers.hold("key", lambda: provider)
    parents = bloq.run(provider.token()).secret

    def check() -> None:
        assert len(shared_providers) == 0
        # A hook that was made before the fork still has its provider.
        assert provider.expires_in is None
        assert provider.key_version is None
        assert bloq.run(provider.token()).secret != parents
        assert bloq.grants == ["clientCredentials", "clientCredentials"]
        assert source.loads == 2

    _in_child(check)
    assert bloq.run(provider.token()).secret == parents
    assert len(shared_providers) == 1


def test_a_child_is_not_held_up_by_a_renewal_of_its_parent() -> None:
    endpoint, source, driver = GatedEndpoint(), RotatingKeys(), blocking_driver()
    provider = shared_providers.hold("key", lambda: ClientKeysTokenProvider(endpoint, source))
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(lambda: driver.run(provider.token()))
        assert endpoint.holdup.entered.wait(LONGEST)

        def check() -> None:
            endpoint.holdup.released.set()
            assert driver.run(provider.token()).secret

        _in_child(check)
        endpoint.holdup.released.set()
        assert leader.result(LONGEST).secret


@pytest.mark.parametrize("lock_of", ["cache", "provider", "flight"])
def test_a_child_is_not_held_up_by_a_lock_that_its_parent_held(
    bloq: ScriptedBloq, provider: ClientKeysTokenProvider, lock_of: str
) -> None:
    shared_providers.hold("key", lambda: provider)
    locks: dict[str, Any] = {
        "cache": shared_providers._lock,
        "provider": provider._lock,
        "flight": provider._renewal._lock,
    }
    held, release = threading.Event(), threading.Event()

    def hold_it() -> None:
        with locks[lock_of]:
            held.set()
            release.wait(LONGEST)

    holder = threading.Thread(target=hold_it)
    holder.start()
    assert held.wait(LONGEST)

    def check() -> None:
        # In a thread, so that a lock that was inherited locked fails the test and does not hang it.
        def act() -> None:
            shared_providers.hold("other", lambda: provider)
            provider.on_refusal(Secret("none"), at_first_use=True)
            bloq.run(provider.token())
            done.set()

        done = threading.Event()
        threading.Thread(target=act, daemon=True).start()
        assert done.wait(10)

    try:
        _in_child(check)
    finally:
        release.set()
        holder.join()


def test_a_driver_holds_no_lock_that_a_child_could_inherit() -> None:
    driver = blocking_driver()
    assert isinstance(driver, SyncDriver)
    locks = (type(threading.Lock()), type(threading.RLock()))
    assert not [name for name, part in vars(driver).items() if isinstance(part, locks)]
