"""The shared token and the member's own client keys: rotations, other accounts, and what a broker looks at."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from airflow_provider_bloq.auth.credentials import ClientKeys, KeyReading, Secret
from airflow_provider_bloq.auth.shared_token_provider import SharedTokenProvider
from airflow_provider_bloq.auth.token_provider import AccessToken
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.flow.effects import Flow, Response
from tests.support.scripted_bloq import MINUTE, RotatingKeys, ScriptedBloq
from tests.support.shared_calls import Join, calling
from tests.support.shared_slots import FakeStore

pytestmark = pytest.mark.logic


def inline_keys(name: str) -> KeyReading:
    return KeyReading(ClientKeys(f"id-{name}", Secret(f"secret-{name}")))


@dataclass
class ConnectionKeys(RotatingKeys):
    """Keys in a connection: the first reading gives what it was read with when the process began."""

    just_read: KeyReading | None = None

    def load(self) -> KeyReading:
        first, self.just_read = self.just_read, None
        return first or super().load()


def in_connection(began_with: str, now: str) -> ConnectionKeys:
    """The keys of a process that began with one pair, in a connection that has another one now."""
    return ConnectionKeys(reading=inline_keys(now), just_read=inline_keys(began_with))


@pytest.fixture
def rotated(bloq: ScriptedBloq, store: FakeStore, join: Join) -> SharedTokenProvider:
    """The shared token is of keys without versions that were rotated since; gives the process that minted it."""
    before = join(in_connection("7", "7"), client_id="id-7")
    assert calling(bloq, before).status == 200
    bloq.good_ids = {"id-7", "id-8"}
    return before


def shared_client(store: FakeStore) -> str:
    assert store.token.fields is not None
    client_id: str = store.token.fields["client_id"]
    return client_id


@pytest.mark.parametrize("minutes", [0, 57, 61], ids=["alive", "to be replaced", "dead"])
def test_a_member_with_rotated_keys_of_its_connection_renews_the_token(
    bloq: ScriptedBloq, store: FakeStore, join: Join, rotated: SharedTokenProvider, minutes: int
) -> None:
    bloq.time += minutes * MINUTE
    assert calling(bloq, join(in_connection("8", "8"), client_id="id-8")).status == 200
    assert bloq.grants == ["clientCredentials"] * 2
    assert shared_client(store) == "id-8"
    # From then on it is as with any other token.
    assert calling(bloq, join(in_connection("8", "8"), client_id="id-8")).status == 200
    assert bloq.grants == ["clientCredentials"] * 2


def test_a_process_that_began_before_the_rotation_reads_its_connection_anew_and_takes_the_new_token(
    bloq: ScriptedBloq, store: FakeStore, join: Join, rotated: SharedTokenProvider
) -> None:
    taker = join(in_connection("7", "8"), client_id="id-7")
    calling(bloq, taker)
    calling(bloq, join(in_connection("8", "8"), client_id="id-8"))
    bloq.good_ids = {"id-8"}
    bloq.revoked.add(bloq.run(taker.token()).secret.reveal())
    leases = store.lease.tries
    assert calling(bloq, taker).status == 200
    assert bloq.grants == ["clientCredentials"] * 2
    assert (store.token.version, store.lease.tries) == (2, leases)


def test_a_living_token_of_other_keys_of_the_same_version_is_refused_after_the_keys_were_read_again(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider, source: RotatingKeys, join: Join
) -> None:
    token = bloq.run(member.token()).secret
    other = join(RotatingKeys())
    bloq.run(other.token())
    bloq.revoked.add(token.reveal())
    store.token.put({**(store.token.fields or {}), "access_token": "anothers", "client_id": "id-other"})
    with pytest.raises(BloqConfigurationError, match="id-other") as refusal:
        calling(bloq, member)
    assert refusal.value.fields == ("shared_vault_path",)
    assert source.loads == 2
    assert store.token.version == 2


@pytest.mark.parametrize("minutes", [57, 61], ids=["to be replaced", "dead"])
def test_a_token_of_other_keys_that_would_be_replaced_anyway_is_not_refused(
    bloq: ScriptedBloq, store: FakeStore, member: SharedTokenProvider, minutes: int
) -> None:
    token = bloq.run(member.token()).secret
    store.token.put({**(store.token.fields or {}), "access_token": "anothers", "client_id": "id-other"})
    bloq.time += minutes * MINUTE
    bloq.revoked.add(token.reveal())
    assert calling(bloq, member).status == 200
    assert shared_client(store) == "id-7"


def test_a_broker_renews_what_would_not_live_long_enough(
    bloq: ScriptedBloq, store: FakeStore, join: Join
) -> None:
    kept = [bloq.run(join(RotatingKeys()).keep_fresh(2400))]
    for _ in range(4):
        bloq.time += 15 * MINUTE
        kept.append(bloq.run(join(RotatingKeys()).keep_fresh(2400)))
    assert [one.renewed for one in kept] == [True, False, True, False, True]
    assert [one.version for one in kept] == [1, 1, 2, 2, 3]
    assert all(one.expires_in >= 2400 for one in kept)


def test_a_broker_that_cannot_renew_tells_of_the_token_that_still_lives(
    bloq: ScriptedBloq, member: SharedTokenProvider, join: Join
) -> None:
    bloq.run(member.token())
    bloq.accounts_fault = Response(503)
    kept = bloq.run(join(RotatingKeys()).keep_fresh(1e6))
    assert (kept.renewed, kept.version) == (False, 1)


@pytest.mark.parametrize("version", [8, None], ids=["new version", "no versions"])
def test_a_broker_renews_a_token_of_keys_that_were_rotated(
    bloq: ScriptedBloq, store: FakeStore, join: Join, version: int | None
) -> None:
    source = RotatingKeys(reading=KeyReading(RotatingKeys.reading.keys, 7 if version else None))
    broker = join(source)
    bloq.run(broker.keep_fresh(1800))
    source.rotate(version)
    bloq.good_ids.add(source.reading.keys.client_id)
    # It has a refresh token of the pair before, which must not be what it renews with.
    assert bloq.run(broker.keep_fresh(1800)).renewed
    assert bloq.grants == ["clientCredentials"] * 2
    assert shared_client(store) == source.reading.keys.client_id
    assert not bloq.run(broker.keep_fresh(1800)).renewed


def test_a_broker_renews_a_token_that_the_service_refuses(
    bloq: ScriptedBloq, store: FakeStore, join: Join
) -> None:
    broker = join(RotatingKeys())
    bloq.run(broker.keep_fresh(1800))
    asked: list[Secret] = []

    def refuses(token: AccessToken) -> Flow[bool]:
        asked.append(token.secret)
        yield from ()
        return token.secret.reveal() in bloq.revoked

    assert not bloq.run(broker.keep_fresh(1800, refuses)).renewed
    bloq.revoked.add(asked[0].reveal())
    kept = bloq.run(join(RotatingKeys()).keep_fresh(1800, refuses))
    assert (kept.renewed, kept.version) == (True, 2)
    assert asked == [asked[0]] * 2
