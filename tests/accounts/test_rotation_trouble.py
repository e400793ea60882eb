"""All that may come across a rotation: lost answers, colleagues, other rotations, a Vault that is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_bloq.accounts.rotation import RotationContext, advance
from airflow_provider_bloq.exceptions import (
    BloqRotationDisputed,
    BloqRotationError,
    BloqRotationHalted,
    BloqRotationOvertaken,
    BloqUnavailable,
    BloqVaultUnavailable,
)
from airflow_provider_bloq.flow.retry import RetryPolicy
from airflow_provider_bloq.flow.sync_driver import SyncDriver
from airflow_provider_bloq.testing.local import Fault, FaultKind, LocalBloq
from airflow_provider_bloq.testing.openbao import LocalVault
from tests.accounts.team import SETTLE_SECONDS, MemoryJournal, Team
from tests.support.drivers import PATIENT

NewTeam = Callable[..., Team]

#: Long enough that it surely lies ahead.
LONG = 1_000_000.0
KEYS_PATH = "/users/me/client-keys"


def test_pairs_that_a_colleague_makes_in_between_are_left_alone(team: Team) -> None:
    journal = MemoryJournal()
    first = team.colleague_creates()
    team.advance(journal, grace=LONG)
    second = team.colleague_creates()
    journal.end_grace()

    team.rotate(journal)
    team.check(foreign={first.client_id, second.client_id})


def test_who_lost_the_race_removes_its_own_pair_and_names_the_winner(team: Team) -> None:
    winner = team.colleague_creates()
    context = team.desk.context(MemoryJournal())
    overtake(context, lambda: team.write_stored(clientId=winner.client_id, clientSecret=winner.client_secret))

    with pytest.raises(BloqRotationOvertaken) as lost:
        team.run(advance(context))

    assert (lost.value.winner_version, lost.value.retryable) == (2, True)
    assert winner.client_id in str(lost.value)
    team.check(old={team.keys.client_id})


def test_another_field_that_somebody_changed_meanwhile_is_not_undone(team: Team) -> None:
    journal = MemoryJournal()
    context = team.desk.context(journal)
    team.others["spare"] = "changed meanwhile"
    overtake(context, lambda: team.write_stored(spare="changed meanwhile"))

    with pytest.raises(BloqRotationOvertaken):
        team.run(advance(context))
    team.check()
    team.rotate(journal)
    team.check()


def test_old_keys_that_were_put_back_are_not_deleted(team: Team) -> None:
    journal = MemoryJournal()
    team.advance(journal, grace=LONG)
    new_id = team.stored_keys().client_id
    team.write_stored(clientId=team.keys.client_id, clientSecret=team.keys.client_secret)
    journal.end_grace()

    with pytest.raises(BloqRotationHalted, match=new_id):
        team.rotate(journal)
    team.check(foreign={new_id})


def test_the_old_pair_lives_on_where_the_new_one_was_deleted(team: Team) -> None:
    journal = MemoryJournal()
    team.advance(journal, grace=LONG)
    new_id = team.stored_keys().client_id
    team.bloq.delete_client_keys(new_id)
    journal.end_grace()

    with pytest.raises(BloqRotationHalted, match=new_id):
        team.rotate(journal)
    assert team.pairs() == {team.keys.client_id}


def test_a_rotation_that_was_overtaken_within_its_grace_period_ends_well(team: Team) -> None:
    first, second = MemoryJournal(), MemoryJournal()
    team.advance(first, grace=LONG)
    between = team.stored_keys().client_id
    team.advance(second, grace=LONG)
    first.end_grace()
    second.end_grace()

    assert team.rotate(first).superseded_by == team.stored_keys().client_id
    team.check(old={between})
    assert team.rotate(second).superseded_by is None
    team.check()


def test_what_an_unanswered_create_made_is_removed(team: Team, bloq: LocalBloq) -> None:
    foreign = team.colleague_creates()
    for kind in (FaultKind.LOST_RESPONSE, FaultKind.TRUNCATED_JSON):
        journal = MemoryJournal()
        bloq.add_fault(Fault(kind=kind, service="accounts", method="POST", path=KEYS_PATH))

        with pytest.raises(BloqUnavailable):
            team.rotate(journal)

        assert (team.stored_keys().client_id, journal.value) == (team.keys.client_id, None)
        team.check(foreign={foreign.client_id})
    team.rotate(journal)
    team.check(foreign={foreign.client_id})


def test_with_two_candidates_nothing_is_deleted_and_a_clear_begins_anew(team: Team, bloq: LocalBloq) -> None:
    journal = MemoryJournal()
    bloq.add_fault(Fault(kind=FaultKind.LOST_RESPONSE, service="accounts", method="POST", path=KEYS_PATH))
    context = team.desk.context(journal)
    colleague: list[str] = []
    before_create(context, lambda: colleague.append(team.colleague_creates().client_id))

    with pytest.raises(BloqRotationDisputed) as disputed:
        team.run(advance(context))

    named = {client_id for client_id, _ in disputed.value.candidates}
    assert named == team.pairs() - {team.keys.client_id}
    assert len(named) == 2
    assert set(colleague) < named
    assert all(client_id in str(disputed.value) for client_id in named)
    assert all(created and created in str(disputed.value) for _, created in disputed.value.candidates)
    with pytest.raises(BloqRotationDisputed):
        team.rotate(journal)
    assert team.pairs() == named | {team.keys.client_id}

    team.rotate(journal, generation=1)
    team.check(foreign=named)


def test_a_create_that_was_refused_leaves_no_trace(team: Team, bloq: LocalBloq) -> None:
    journal = MemoryJournal()
    for fault in (
        Fault(kind=FaultKind.STATUS, status=409, service="accounts", method="POST", path=KEYS_PATH),
        Fault(kind=FaultKind.RATE_LIMIT, service="accounts", method="POST", path=KEYS_PATH),
    ):
        bloq.add_fault(fault)
        colleague = team.colleague_creates()
        with pytest.raises(Exception, match="answered 4"):
            team.rotate(journal)
        assert journal.value is None
        team.check(foreign={colleague.client_id})
        team.bloq.delete_client_keys(colleague.client_id)


def test_a_pair_that_accounts_does_not_accept_never_reaches_vault(team: Team, bloq: LocalBloq) -> None:
    bloq.add_fault(
        Fault(kind=FaultKind.STATUS, status=401, service="accounts", path="/auth/token", times=None)
    )
    with pytest.raises(BloqRotationError, match="refuses to mint"):
        team.rotate(policy=RetryPolicy(attempts=3))
    bloq.clear_faults()
    assert team.stored()[1] == 1
    team.check()


def test_a_pair_that_accounts_accepts_only_after_a_while_is_waited_for(team: Team, bloq: LocalBloq) -> None:
    bloq.add_fault(Fault(kind=FaultKind.STATUS, status=401, service="accounts", path="/auth/token", times=2))
    team.rotate()
    team.check()


def test_a_vault_that_is_away_for_a_moment_is_waited_for(team: Team, vault: LocalVault) -> None:
    context = team.desk.context(MemoryJournal())
    overtake(context, vault.seal)
    driver = SyncDriver(PATIENT, mask=lambda _: None, sleep=lambda _: vault.unseal())
    try:
        driver.run(advance(context))
    finally:
        vault.unseal()
        driver.close()
    team.check()


def test_a_vault_that_stays_away_leaves_the_rest_to_the_next_try(team: Team, vault: LocalVault) -> None:
    journal = MemoryJournal()
    context = team.desk.context(journal, policy=RetryPolicy(attempts=2))
    overtake(context, vault.seal)
    try:
        with pytest.raises(BloqVaultUnavailable, match="sealed"):
            team.run(advance(context))
    finally:
        vault.unseal()
    assert team.rotate(journal).old_client_id == team.keys.client_id
    team.check()


def test_a_window_that_has_not_passed_is_waited_out_before_a_pair_is_judged(
    team: Team, bloq: LocalBloq
) -> None:
    slept: list[float] = []
    driver = SyncDriver(PATIENT, mask=lambda _: None, sleep=slept.append)
    bloq.add_fault(Fault(kind=FaultKind.LOST_RESPONSE, service="accounts", method="POST", path=KEYS_PATH))
    with pytest.raises(BloqUnavailable):
        driver.run(advance(team.desk.context(MemoryJournal())))
    driver.close()
    (waited,) = slept
    assert 0 < waited <= SETTLE_SECONDS
    team.check()


def overtake(context: RotationContext, act: Callable[[], Any]) -> None:
    """Do something in the moment before the secret is written, once."""
    write, pending = context.vault.write_keys, [act]

    def written(*arguments: Any) -> int:
        while pending:
            pending.pop()()
        return write(*arguments)

    context.vault.write_keys = written  # type: ignore[assignment]


def before_create(context: RotationContext, act: Callable[[], Any]) -> None:
    """Do something in the moment before the pair is made, once."""
    create = context.create_keys

    def created() -> Any:
        act()
        return create()

    context.create_keys = created  # type: ignore[method-assign]
