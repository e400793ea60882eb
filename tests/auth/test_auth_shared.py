"""The shared token with a scripted Accounts and a store in memory: who reads, who renews, who waits."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from airflow_provider_bloq.auth.credentials import ClientKeys, KeyReading, Secret
from airflow_provider_bloq.auth.shared_token_provider import SharedTokenProvider
from airflow_provider_bloq.auth.shared_token_store import CLOCK_TOLERANCE, LEASE_SECONDS, Lease
from airflow_provider_bloq.auth.token_provider import EARLY_RETRY_PAUSE
from airflow_provider_bloq.exceptions import (
    BloqClientKeysRejected,
    BloqConfigurationError,
    BloqSharedTokenStale,
    BloqUnavailable,
    BloqVaultUnavailable,
)
from airflow_provider_bloq.flow.effects import Response
from tests.support.scripted_bloq import ACCOUNTS, MINUTE, RotatingKeys, ScriptedBloq
from tests.support.shared_calls import PATIENCE, Join, calling
from tests.support.shared_slots import FakeStore

pytestmark = pytest.mark.logic


def test_the_first_member_mints_for_all(bloq: ScriptedBloq, store: FakeStore, join: Join) -> None:
    sources = [RotatingKeys() for _ in range(20)]
    for source in sources:
        assert calling(bloq, join(source)).status == 200
    assert bloq.grants == ["clientCredentials"]
    assert sum(source.loads for source in sources) == 1
    # One that was first to look, and looked again under the lease; the others read once.
    assert store.token.reads == 2 + 19
    assert (store.lease.reads, store.lease.tries) == (1, 2)


def test_a_reader_takes_what_a_member_shared_and_asks_nobody_else(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider, reader: SharedTokenProvider
) -> None:
    token = bloq.run(member.token()).secret
    bloq.masked.clear()
    for _ in range(10):
        assert calling(bloq, reader).status == 200
    assert bloq.run(reader.token()).secret == token
    assert token.reveal() in bloq.masked
    assert (len(bloq.grants), store.lease.reads) == (1, 1)


def test_only_the_access_token_is_shared(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider
) -> None:
    token = bloq.run(member.token())
    assert store.token.fields == {
        "access_token": token.secret.reveal(),
        "lifetime": pytest.approx(3600),
        "accounts_url": ACCOUNTS,
        "client_id": "id-7",
        "key_version": 7,
        "minted_at": 5.0,
    }


@pytest.mark.parametrize(
    ("age", "left"), [(0, 3600), (1000, 2600), (3599, 1), (-5, 3600)], ids=["new", "old", "ending", "skewed"]
)
def test_the_age_is_that_of_the_store_s_clock(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider, join: Join, age: float, left: float
) -> None:
    bloq.run(member.token())
    store.token.put(store.token.fields, age=age)
    latecomer = join()
    bloq.run(latecomer.token())
    assert latecomer.expires_in == pytest.approx(left)


def test_one_member_renews_within_the_margin_and_the_others_take_it_over(
    bloq: ScriptedBloq, store: FakeStore, join: Join
) -> None:
    members = [join(RotatingKeys()) for _ in range(10)]
    for one in members:
        calling(bloq, one)
    bloq.time += 56 * MINUTE
    for one in members:
        assert calling(bloq, one).status == 200
    assert bloq.grants == ["clientCredentials", "refreshToken"]
    assert len({bloq.run(one.token()).secret for one in members}) == 1
    assert store.token.version == 2


def test_who_finds_the_lease_taken_goes_on_with_the_living_token(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider, join: Join
) -> None:
    token = bloq.run(member.token()).secret
    bloq.time += 56 * MINUTE
    assert bloq.run(Lease(store.lease).take())
    other = join(RotatingKeys())
    reads = store.lease.reads
    for _ in range(50):
        assert bloq.run(other.token()).secret == token
    assert store.lease.reads == reads + 1
    assert bloq.slept == []


def test_a_holder_that_died_is_superseded_after_the_lease(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider
) -> None:
    begun = bloq.time
    assert bloq.run(Lease(store.lease).take())
    assert calling(bloq, member).status == 200
    assert LEASE_SECONDS <= bloq.time - begun <= LEASE_SECONDS + 7
    assert bloq.grants == ["clientCredentials"]


def test_a_lease_that_claims_to_last_for_ever_is_not_believed(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider
) -> None:
    begun = bloq.time
    store.lease.put({"holder": "mallory", "seconds": 1e9})
    assert calling(bloq, member).status == 200
    assert bloq.time - begun < PATIENCE


def test_who_takes_the_lease_after_another_was_done_renews_no_second_time(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider, join: Join
) -> None:
    store.latency = 1.0
    late = join(RotatingKeys())._renew(retry=True)
    # On its way to the token, which is not there yet; then on its way to the lease.
    next(late)
    next(late)
    assert (store.token.reads, store.lease.reads) == (1, 0)
    token = bloq.run(member.token()).secret
    assert _finish(bloq, late, None).secret == token
    assert bloq.grants == ["clientCredentials"]


def test_a_dead_token_is_renewed_by_a_member_and_waited_for_by_a_reader(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider, reader: SharedTokenProvider
) -> None:
    bloq.run(member.token())
    bloq.time += 61 * MINUTE
    begun = bloq.time
    with pytest.raises(BloqSharedTokenStale) as stale:
        calling(bloq, reader)
    assert bloq.time - begun == pytest.approx(PATIENCE)
    assert len({round(pause, 6) for pause in bloq.slept}) > 1
    assert (stale.value.client_id, stale.value.path) == ("id-7", "the shared token")
    assert stale.value.age == pytest.approx(61 * MINUTE + PATIENCE)
    assert "BloqTokenBrokerOperator of client ID id-7" in str(stale.value)
    assert stale.value.retryable
    assert calling(bloq, member).status == 200
    assert calling(bloq, reader).status == 200


def test_a_reader_of_an_empty_path_says_what_has_to_run(
    bloq: ScriptedBloq, reader: SharedTokenProvider
) -> None:
    with pytest.raises(BloqSharedTokenStale, match="holds no access token.*BloqTokenBrokerOperator") as stale:
        calling(bloq, reader)
    assert (stale.value.client_id, stale.value.age) == (None, None)


def test_a_refused_token_is_first_looked_up_again(
    bloq: ScriptedBloq, store: FakeStore, join: Join, source: RotatingKeys
) -> None:
    first, second, reading = join(source), join(RotatingKeys()), join()
    for one in (first, second, reading):
        calling(bloq, one)
    bloq.revoked.add(bloq.run(first.token()).secret.reveal())
    for one in (first, second, reading):
        assert calling(bloq, one).status == 200
    assert bloq.grants == ["clientCredentials", "refreshToken"]
    assert store.token.version == 2


def test_a_reader_whose_current_token_is_refused_waits_for_a_newer_version(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider, reader: SharedTokenProvider
) -> None:
    calling(bloq, reader if bloq.run(member.token()) else member)
    bloq.revoked.add(bloq.run(member.token()).secret.reveal())
    with pytest.raises(BloqSharedTokenStale, match="version 1.* was refused"):
        calling(bloq, reader)


def test_with_the_store_down_a_held_token_serves_on(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider, reader: SharedTokenProvider
) -> None:
    for one in (member, reader):
        calling(bloq, one)
    store.is_down = True
    bloq.time += 57 * MINUTE
    for one in (member, reader):
        assert calling(bloq, one).status == 200
    assert bloq.slept == []


def test_with_the_store_down_a_reader_waits_and_then_says_why(
    bloq: ScriptedBloq, store: FakeStore, reader: SharedTokenProvider
) -> None:
    store.is_down = True
    with pytest.raises(BloqVaultUnavailable, match="out of reach"):
        calling(bloq, reader)
    assert sum(bloq.slept) == pytest.approx(PATIENCE)


def test_with_the_store_down_a_member_fends_for_itself_at_last(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider
) -> None:
    store.is_down = True
    assert calling(bloq, member).status == 200
    assert sum(bloq.slept) == pytest.approx(PATIENCE)
    assert store.token.version == 0


def test_a_member_that_mints_locally_retries_while_accounts_is_busy(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider
) -> None:
    store.is_down = True
    bloq.accounts_answers.append(Response(503))
    assert calling(bloq, member).status == 200
    assert bloq.grants == ["clientCredentials"] * 2


def test_with_the_store_and_the_source_of_the_keys_down_a_member_says_what_to_do(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider, source: RotatingKeys
) -> None:
    store.is_down = True
    source.failure = BloqVaultUnavailable("the keys are out of reach")
    with pytest.raises(BloqVaultUnavailable, match="the keys are out of reach.*see that Vault is up"):
        calling(bloq, member)
    source.failure = None
    assert calling(bloq, member).status == 200


def test_a_store_that_comes_back_in_time_is_used(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider
) -> None:
    store.is_down = True
    flow = member._renew(retry=True)
    effect: Any = next(flow)
    assert effect.seconds < PATIENCE
    store.is_down = False
    assert bloq.run(flow).secret
    assert store.token.version == 1


def test_with_accounts_down_the_fleet_tries_once_per_lease(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider, join: Join
) -> None:
    token = bloq.run(member.token()).secret
    bloq.accounts_fault = Response(503)
    bloq.time += 56 * MINUTE
    for _ in range(20):
        assert bloq.run(join(RotatingKeys()).token()).secret == token
    assert len(bloq.grants) == 2
    watching = join(RotatingKeys())
    assert bloq.run(watching.token()).secret == token
    bloq.time += max(LEASE_SECONDS, EARLY_RETRY_PAUSE)
    # Who has just come knows only from Vault's clocks how old the lease is.
    bloq.run(join(RotatingKeys()).token())
    assert len(bloq.grants) == 2
    bloq.run(watching.token())
    assert len(bloq.grants) == 3
    bloq.time += LEASE_SECONDS + CLOCK_TOLERANCE
    bloq.run(join(RotatingKeys()).token())
    assert len(bloq.grants) == 4


@pytest.mark.parametrize("ahead", [25.0, -25.0])
def test_a_lease_is_not_dead_for_the_clocks_of_the_store_s_nodes_differ(
    bloq: ScriptedBloq, store: FakeStore, ahead: float
) -> None:
    holder, other = (Lease(store.lease, clock=bloq.clock) for _ in range(2))
    taken = bloq.run(holder.take())
    assert taken
    usual = store.clock
    store.clock = lambda: usual() + ahead
    assert bloq.run(other.take()) is None
    bloq.time += LEASE_SECONDS - 1
    assert bloq.run(other.take()) is None
    # Another write of the holder's begins its time anew.
    assert bloq.run(holder.take())
    bloq.time += LEASE_SECONDS - 1
    assert bloq.run(other.take()) is None
    bloq.time += LEASE_SECONDS
    assert bloq.run(other.take())


def test_a_lease_that_was_given_back_is_free_at_once(bloq: ScriptedBloq, store: FakeStore) -> None:
    holder, other = (Lease(store.lease, clock=bloq.clock) for _ in range(2))
    bloq.run(holder.give_back(bloq.run(holder.take())))
    assert bloq.run(other.take())


def test_with_accounts_down_and_no_living_token_the_error_is_that_of_accounts(
    bloq: ScriptedBloq, member: SharedTokenProvider
) -> None:
    bloq.accounts_fault = Response(503)
    with pytest.raises(BloqUnavailable, match="503"):
        calling(bloq, member)


def test_refused_keys_are_told_as_without_sharing(bloq: ScriptedBloq, member: SharedTokenProvider) -> None:
    bloq.good_ids.clear()
    with pytest.raises(BloqClientKeysRejected):
        calling(bloq, member)


def test_a_lost_race_leaves_the_winner_s_token_in_place(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider, join: Join
) -> None:
    slow = join(RotatingKeys())._renew(retry=True)
    effects = itertools.takewhile(lambda effect: type(effect).__name__ != "Send", slow)
    for effect in effects:
        if type(effect).__name__ == "LoadKeys":
            break
    bloq.time += LEASE_SECONDS
    winner = bloq.run(member.token()).secret
    late = _finish(bloq, slow, KeyReading(ClientKeys("id-7", Secret("secret-7")), 7))
    assert late.secret != winner
    assert store.token.version == 1
    assert bloq.run(join().token()).secret == winner


def _finish(bloq: ScriptedBloq, flow: Any, answer: Any) -> Any:
    """Run a flow on from where it waits for ``answer``."""

    def rest() -> Any:
        try:
            effect = flow.send(answer)
            while True:
                effect = flow.send((yield effect))
        except StopIteration as end:
            return end.value

    return bloq.run(rest())


@pytest.mark.parametrize(
    "change",
    [
        {"access_token": None},
        {"access_token": "with blank"},
        {"access_token": ""},
        {"lifetime": "3600"},
        {"lifetime": -1},
        {"lifetime": 1e9},
        {"lifetime": True},
        {"lifetime": 10**400},
        {"lifetime": float("nan")},
        {"accounts_url": None},
        {"client_id": 7},
        {"key_version": "7"},
    ],
    ids=str,
)
def test_what_is_no_shared_token_is_refused_and_not_overwritten(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider, join: Join, change: dict[str, Any]
) -> None:
    bloq.run(member.token())
    store.token.put({**(store.token.fields or {}), **change})
    for one in (join(), join(RotatingKeys())):
        with pytest.raises(BloqConfigurationError) as refusal:
            calling(bloq, one)
        assert refusal.value.fields == ("shared_vault_path",)
    assert store.token.version == 2


def test_client_keys_in_the_shared_path_are_neither_shown_nor_overwritten(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider
) -> None:
    store.token.put({"clientId": "a" * 40, "clientSecret": "hush"})
    with pytest.raises(BloqConfigurationError) as refusal:
        calling(bloq, member)
    assert "hush" not in str(refusal.value)
    assert store.token.version == 1


def test_another_secret_in_the_place_of_the_lease_is_not_overwritten(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider
) -> None:
    store.lease.put({"password": "hush"})
    with pytest.raises(BloqConfigurationError, match="not a lease"):
        calling(bloq, member)
    assert store.lease.version == 1


def test_a_token_of_another_accounts_is_refused(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider, reader: SharedTokenProvider
) -> None:
    bloq.run(member.token())
    store.token.put({**(store.token.fields or {}), "accounts_url": "https://accounts.staging.example"})
    with pytest.raises(BloqConfigurationError, match=r"accounts\.staging\.example"):
        calling(bloq, reader)


def test_a_token_of_rotated_keys_is_taken(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider, join: Join, source: RotatingKeys
) -> None:
    bloq.run(member.token())
    rotated = RotatingKeys()
    rotated.rotate(8)
    bloq.good_ids = {"id-8"}
    bloq.revoked.add(bloq.run(member.token()).secret.reveal())
    assert calling(bloq, join(rotated)).status == 200
    assert store.token.fields is not None
    assert store.token.fields["key_version"] == 8
    assert calling(bloq, member).status == 200
    assert source.loads == 1


def test_a_forked_child_is_a_process_of_its_own(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider, source: RotatingKeys
) -> None:
    bloq.run(member.token())
    holder = member._lease._holder
    member.forget()
    assert member.expires_in is None
    assert member._lease._holder != holder
    assert calling(bloq, member).status == 200
    assert (source.loads, len(bloq.grants)) == (1, 1)
