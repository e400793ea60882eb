"""Which hooks share a provider, and how long one is kept."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from airflow_provider_bloq.accounts.client import AccountsTokenEndpoint
from airflow_provider_bloq.auth.cache import ProviderCache, credential_key
from airflow_provider_bloq.auth.token_provider import ClientKeysTokenProvider
from airflow_provider_bloq.flow.retry import RetryPolicy
from tests.support.scripted_bloq import ACCOUNTS, MINUTE, RotatingKeys, ScriptedBloq

pytestmark = pytest.mark.logic


@pytest.fixture
def cache() -> ProviderCache:
    return ProviderCache()


@pytest.fixture
def make(bloq: ScriptedBloq) -> Callable[[], ClientKeysTokenProvider]:
    return lambda: ClientKeysTokenProvider(
        AccountsTokenEndpoint(ACCOUNTS, RetryPolicy()), RotatingKeys(), clock=bloq.clock
    )


def test_every_part_of_a_credential_makes_its_key() -> None:
    parts = ["", "a", "b", "ab", "1:a"]
    keys = [
        credential_key(url, identity)
        for url in parts
        for size in range(3)
        for identity in itertools.product(parts, repeat=size)
    ]
    assert len(set(keys)) == len(keys)


def test_a_key_shows_nothing_of_what_it_is_made_of() -> None:
    key = credential_key("https://accounts.example", ("connection", "id-7", "digest"))
    assert len(key) == 64
    assert set(key) <= set("0123456789abcdef")


def test_who_holds_the_same_credential_holds_the_same_provider(
    cache: ProviderCache, make: Callable[[], ClientKeysTokenProvider]
) -> None:
    assert cache.hold("a", make) is cache.hold("a", make)
    assert cache.hold("a", make) is not cache.hold("b", make)


def test_leases_share_a_provider_which_outlives_the_first_to_end(
    cache: ProviderCache, make: Callable[[], ClientKeysTokenProvider]
) -> None:
    with cache.lease("a", make) as first:
        with cache.lease("a", make) as second:
            assert second is first
        with cache.lease("b", make), cache.lease("a", make) as third:
            assert third is first


def test_a_provider_without_leases_stays_while_its_token_lives_and_then_goes(
    cache: ProviderCache, bloq: ScriptedBloq, make: Callable[[], ClientKeysTokenProvider]
) -> None:
    with cache.lease("a", make) as leased:
        bloq.run(leased.token())
    with cache.lease("b", make), cache.lease("a", make) as again:
        assert again is leased
    bloq.time += 61 * MINUTE
    with cache.lease("c", make):
        assert len(cache) == 1
        with cache.lease("a", make) as anew:
            assert anew is not leased


def test_a_leased_provider_stays_though_its_token_is_dead(
    cache: ProviderCache, bloq: ScriptedBloq, make: Callable[[], ClientKeysTokenProvider]
) -> None:
    with cache.lease("a", make) as leased:
        bloq.run(leased.token())
        bloq.time += 61 * MINUTE
        with cache.lease("b", make), cache.lease("a", make) as again:
            assert again is leased


def test_a_held_provider_stays_for_good(
    cache: ProviderCache, bloq: ScriptedBloq, make: Callable[[], ClientKeysTokenProvider]
) -> None:
    held = cache.hold("a", make)
    with cache.lease("a", make) as leased:
        assert leased is held
    bloq.time += 61 * MINUTE
    cache.hold("b", make)
    assert cache.hold("a", make) is held


def test_a_lease_ends_with_an_error_in_its_block(
    cache: ProviderCache, make: Callable[[], ClientKeysTokenProvider]
) -> None:
    with pytest.raises(ZeroDivisionError), cache.lease("a", make):
        raise ZeroDivisionError
    with cache.lease("b", make):
        assert len(cache) == 1


def test_a_thousand_leases_cost_one_reading_and_one_mint_per_token_life(
    cache: ProviderCache, bloq: ScriptedBloq
) -> None:
    source = RotatingKeys()
    endpoint = AccountsTokenEndpoint(ACCOUNTS, RetryPolicy())
    for _ in range(1000):
        with cache.lease("a", lambda: ClientKeysTokenProvider(endpoint, source, clock=bloq.clock)) as leased:
            bloq.run(leased.token())
    assert (source.loads, bloq.mints, bloq.refreshes) == (1, 1, 0)
