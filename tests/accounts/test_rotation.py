"""A rotation from end to end with a real Vault and a local Bloq, the settings it refuses, and its decisions."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_bloq.accounts.client import KeyListing, ListedKeys
from airflow_provider_bloq.accounts.rotation import (
    SKEW,
    Attribution,
    GracePeriod,
    RotationOutcome,
    advance,
    attribute_key,
    plan,
)
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqRotationHalted
from airflow_provider_bloq.flow.sync_driver import SyncDriver
from airflow_provider_bloq.testing.local import LocalBloq
from tests.accounts.team import MemoryJournal, Team
from tests.support.drivers import PATIENT, awaiting_driver

NewTeam = Callable[..., Team]

#: A grace period that does not end during the test, in seconds.
LONG = 1_000_000.0
KEYS_PATH = "/users/me/client-keys"


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What rotations log, whatever Airflow does to the root logger when it is loaded."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("airflow_provider_bloq.accounts.rotation")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield messages
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_the_pair_is_replaced_and_nothing_else(new_team: NewTeam, logged: list[str]) -> None:
    for names in (("clientId", "clientSecret"), ("client_id", "client_secret"), ("bloq_id", "bloq_key")):
        team = new_team(names=names)
        foreign = team.colleague_creates()
        before, version = team.stored()

        outcome = team.rotate()

        after, _ = team.stored()
        assert outcome == RotationOutcome(team.keys.client_id, after[names[0]], version, version + 1)
        assert set(after) == set(before)
        assert after[names[0]] != before[names[0]]
        assert after[names[1]] != before[names[1]]
        team.check(foreign={foreign.client_id})
        assert f"Kept 1 other pairs of this account: {foreign.client_id}" in logged


def test_without_other_pairs_none_are_logged_as_kept(team: Team, logged: list[str]) -> None:
    team.rotate()
    assert f"Deleting client keys {team.keys.client_id}" in logged
    assert not [message for message in logged if "other pairs" in message]


def test_both_drivers_rotate(team: Team) -> None:
    async def rotate() -> Any:
        driver = awaiting_driver()
        try:
            return await driver.run(advance(team.desk.context(MemoryJournal())))
        finally:
            await driver.close()

    assert isinstance(asyncio.run(rotate()), RotationOutcome)
    team.check()


def test_within_the_grace_period_both_pairs_work(team: Team) -> None:
    journal = MemoryJournal()
    reached = team.advance(journal, grace=LONG)

    assert isinstance(reached, GracePeriod)
    assert team.advance(journal, grace=LONG) == reached
    team.check(old={team.keys.client_id})


def test_secrets_are_masked_and_not_in_the_journal(team: Team) -> None:
    masked: list[str] = []
    journal = MemoryJournal()
    driver = SyncDriver(PATIENT, mask=masked.append)
    driver.run(advance(team.desk.context(journal)))
    driver.close()

    new_secret = team.stored_keys().client_secret.reveal()
    assert {team.password, team.keys.client_secret, new_secret} <= set(masked)
    noted = "".join(journal.written)
    assert len(journal.written) == 4
    assert not [secret for secret in masked if secret in noted]


def test_a_dry_run_returns_the_plan_and_changes_nothing(team: Team, bloq: LocalBloq) -> None:
    journal = MemoryJournal()
    bloq.reset_counters()

    planned = team.run(plan(team.desk.context(journal, grace=60)))

    assert planned["old_client_id"] == team.keys.client_id
    assert [pair["client_id"] for pair in planned["account_pairs"]] == [team.keys.client_id]
    assert json.dumps(planned)
    assert team.password not in json.dumps(planned)
    assert dict(bloq.counters().calls) == {"accounts POST /auth": 1, f"accounts GET {KEYS_PATH}": 1}
    assert (team.stored()[1], journal.written) == (1, [])


def test_a_retry_after_the_end_returns_the_same_and_a_clear_rotates_again(team: Team) -> None:
    journal = MemoryJournal()
    first = team.rotate(journal, generation=2)

    assert team.rotate(journal, generation=2) == first
    second = team.rotate(journal, generation=5)
    assert second.old_client_id == first.new_client_id
    team.check()


def test_the_login_of_another_account_is_refused_before_any_change(new_team: NewTeam) -> None:
    team, other = new_team(), new_team()
    team.vault.put(team.desk.account_path, {"user": other.account.email, "password": other.password})

    with pytest.raises(BloqConfigurationError, match="another account") as refused:
        team.rotate()

    assert refused.value.fields == ("account_vault_path",)
    other.check()
    assert team.pairs() == {team.keys.client_id}


def test_dead_keys_in_vault_are_replaced(team: Team) -> None:
    team.bloq.delete_client_keys(team.keys.client_id)
    planned = team.run(plan(team.desk.context(MemoryJournal())))
    assert any(step.startswith("delete nothing") for step in planned["steps"])

    assert team.rotate().old_client_id == team.keys.client_id
    team.check()


def test_a_role_without_write_permission_gets_the_missing_rule(team: Team) -> None:
    team.vault.write_policy(
        f"{team.desk.prefix}-account",
        f'path "secret/data/{team.desk.path}" {{ capabilities = ["read"] }}\n'
        f'path "secret/data/{team.desk.account_path}" {{ capabilities = ["read"] }}',
    )
    with pytest.raises(BloqConfigurationError, match='capabilities = \\["read", "update"\\]'):
        team.rotate()
    team.check()


def test_a_secret_in_an_engine_without_versions_is_refused(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    for conn_id, connection in team.connections().items():
        connection["extra"]["kv_engine_version"] = 1
        connection["schema"] = "kv1"
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
    team.bloq.reset_counters()
    with pytest.raises(BloqConfigurationError, match="no check-and-set.*enable-versioning kv1"):
        team.rotate()
    assert team.bloq.counters().logins == 0


def test_two_vaults_are_refused(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = team.connections()[f"{team.desk.prefix}_account"] | {"port": 1}
    monkeypatch.setenv(f"AIRFLOW_CONN_{team.desk.prefix.upper()}_ACCOUNT", json.dumps(elsewhere))
    with pytest.raises(BloqConfigurationError) as refused:
        team.rotate()
    assert refused.value.fields == ("account_vault_conn_id",)


def test_a_journal_of_another_secret_is_refused(new_team: NewTeam) -> None:
    team, other = new_team(), new_team()
    journal = MemoryJournal()
    team.advance(journal, grace=LONG)
    with pytest.raises(BloqConfigurationError, match=f"{team.desk.path}.*{other.desk.path}"):
        other.advance(journal)
    other.check()


def test_a_journal_that_cannot_be_read_stops_the_rotation(team: Team) -> None:
    with pytest.raises(BloqRotationHalted, match="journal"):
        team.rotate(MemoryJournal(value='{"phase": "unheard of"}'))
    team.check()


def test_every_missing_field_of_the_login_is_named(team: Team) -> None:
    for fields, wrong in (
        ({"user": "a"}, ("account_password_field",)),
        ({"login": "a", "password": "b"}, ("account_user_field",)),
        ({"user": "", "password": ""}, ("account_user_field", "account_password_field")),
    ):
        team.vault.put(team.desk.account_path, fields)
        with pytest.raises(BloqConfigurationError) as refused:
            team.rotate()
        assert refused.value.fields == wrong


LISTED_AT = 1_000_000.0
SETTLE_SECONDS = 60.0


def pair(client_id: str, after: float | None = 1.0) -> ListedKeys:
    """A pair that was created some seconds after the list before the create."""
    if after is None:
        return ListedKeys(client_id, "yesterday")
    moment = datetime.fromtimestamp(LISTED_AT + after, UTC).isoformat(timespec="milliseconds")
    return ListedKeys(client_id, moment.replace("+00:00", "Z"))


def attributed(*pairs: ListedKeys, in_vault: str = "old") -> Attribution:
    return attribute_key(
        KeyListing(pairs),
        known={"old", "other"},
        in_vault=in_vault,
        listed_at=LISTED_AT,
        settle_seconds=SETTLE_SECONDS,
    )


def test_a_lost_create_made_the_only_new_pair_that_vault_does_not_hold() -> None:
    assert attributed(pair("old"), pair("other")) == Attribution()
    assert attributed(pair("old"), pair("new")) == Attribution(own=pair("new"))
    assert attributed(pair("a"), pair("b")) == Attribution(candidates=(pair("a"), pair("b")))
    assert attributed(pair("new"), in_vault="new") == Attribution()
    assert attributed(pair("new"), pair("b"), in_vault="new") == Attribution(own=pair("b"))


def test_a_lost_create_made_a_pair_only_while_it_was_under_way() -> None:
    for after in (-SKEW, 0.0, SETTLE_SECONDS + SKEW):
        assert attributed(pair("new", after)) == Attribution(own=pair("new", after))
    for after in (-SKEW - 0.001, SETTLE_SECONDS + SKEW + 0.001):
        assert attributed(pair("new", after)) == Attribution()


def test_a_pair_without_a_time_of_creation_is_never_certain() -> None:
    assert attributed(pair("new", None)) == Attribution(candidates=(pair("new", None),))
    assert attributed(pair("a"), pair("b", None)).own is None
