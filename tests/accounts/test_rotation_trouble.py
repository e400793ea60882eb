"""A rotation with lost answers, colleagues, other rotations and an unavailable Vault."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_bloq.accounts.rotation import RotationContext, RotationOutcome, advance
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
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

#: A grace period that does not end during the test, in seconds.
LONG = 1_000_000.0
KEYS_PATH = "/users/me/client-keys"


def test_pairs_that_a_colleague_creates_meanwhile_are_kept(team: Team) -> None:
    journal = MemoryJournal()
    first = team.colleague_creates()
    team.advance(journal, grace=LONG)
    second = team.colleague_creates()
    journal.end_grace()

    team.rotate(journal)
    team.check(foreign={first.client_id, second.client_id})


def test_an_overtaken_rotation_deletes_its_own_pair_and_names_the_winner(team: Team) -> None:
    winner = team.colleague_creates()
    context = team.desk.context(MemoryJournal())
    before_write(
        context, lambda: team.write_stored(clientId=winner.client_id, clientSecret=winner.client_secret)
    )

    with pytest.raises(BloqRotationOvertaken) as lost:
        team.run(advance(context))

    assert (lost.value.winner_version, lost.value.retryable) == (2, True)
    assert winner.client_id in str(lost.value)
    team.check(old={team.keys.client_id})


def test_a_change_of_another_field_meanwhile_is_kept(team: Team) -> None:
    journal = MemoryJournal()
    context = team.desk.context(journal)
    team.others["spare"] = "changed meanwhile"
    before_write(context, lambda: team.write_stored(spare="changed meanwhile"))

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


def test_the_old_pair_is_kept_if_the_new_one_was_deleted(team: Team) -> None:
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


def test_the_pair_of_an_unanswered_create_is_deleted(team: Team, bloq: LocalBloq) -> None:
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


def test_with_two_candidates_nothing_is_deleted_and_a_clear_starts_again(team: Team, bloq: LocalBloq) -> None:
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


def test_a_refused_create_leaves_no_trace(team: Team, bloq: LocalBloq) -> None:
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


def test_a_short_outage_of_vault_is_waited_out(team: Team, vault: LocalVault) -> None:
    context = team.desk.context(MemoryJournal())
    before_write(context, vault.seal)
    driver = SyncDriver(PATIENT, mask=lambda _: None, sleep=lambda _: vault.unseal())
    try:
        driver.run(advance(context))
    finally:
        vault.unseal()
        driver.close()
    team.check()


def test_a_long_outage_of_vault_is_left_to_the_next_try(team: Team, vault: LocalVault) -> None:
    journal = MemoryJournal()
    context = team.desk.context(journal, policy=RetryPolicy(attempts=2))
    before_write(context, vault.seal)
    try:
        with pytest.raises(BloqVaultUnavailable, match="sealed"):
            team.run(advance(context))
    finally:
        vault.unseal()
    assert team.rotate(journal).old_client_id == team.keys.client_id
    team.check()


def test_a_lost_create_is_judged_only_after_it_must_have_ended(team: Team, bloq: LocalBloq) -> None:
    slept: list[float] = []
    driver = SyncDriver(PATIENT, mask=lambda _: None, sleep=slept.append)
    bloq.add_fault(Fault(kind=FaultKind.LOST_RESPONSE, service="accounts", method="POST", path=KEYS_PATH))
    with pytest.raises(BloqUnavailable):
        driver.run(advance(team.desk.context(MemoryJournal())))
    driver.close()
    (waited,) = slept
    assert 0 < waited <= SETTLE_SECONDS
    team.check()


def test_an_unanswered_write_that_took_effect_is_continued(team: Team) -> None:
    context = team.desk.context(MemoryJournal())
    write = context.vault.write_keys

    def unanswered(*arguments: Any) -> int:
        write(*arguments)
        context.vault.write_keys = write  # type: ignore[method-assign]
        raise BloqVaultUnavailable("no answer")

    context.vault.write_keys = unanswered  # type: ignore[method-assign]
    outcome = team.run(advance(context))
    assert isinstance(outcome, RotationOutcome)
    assert outcome.kv_version == 2
    team.check()


def test_after_an_unanswered_write_a_refused_one_deletes_nothing(team: Team) -> None:
    journal = MemoryJournal()
    context = team.desk.context(journal)
    failures = iter([BloqVaultUnavailable("no answer"), BloqConfigurationError.of("a", "b", "c")])

    def fails(*arguments: Any) -> int:
        raise next(failures)

    context.vault.write_keys = fails  # type: ignore[method-assign]
    with pytest.raises(BloqConfigurationError):
        team.run(advance(context))
    assert len(team.pairs()) == 2
    team.rotate(journal)
    team.check()


def test_a_pair_that_could_not_be_deleted_again_is_deleted_by_the_next_try(
    team: Team, bloq: LocalBloq
) -> None:
    journal = MemoryJournal()
    bloq.add_fault(
        Fault(kind=FaultKind.STATUS, status=401, service="accounts", path="/auth/token", times=None)
    )
    bloq.add_fault(
        Fault(kind=FaultKind.STATUS, status=409, service="accounts", method="DELETE", path="*", times=None)
    )
    with pytest.raises(BloqRotationError, match="refuses to mint"):
        team.rotate(journal, policy=RetryPolicy(attempts=1))
    bloq.clear_faults()
    assert len(team.pairs()) == 2
    team.rotate(journal)
    team.check()


def test_a_write_during_the_recovery_of_a_named_pair_is_respected(team: Team) -> None:
    journal = MemoryJournal()
    context = team.desk.context(journal)
    before_write(context, _die)
    with pytest.raises(KeyboardInterrupt):
        team.run(advance(context))
    assert len(team.pairs()) == 2

    team.others["spare"] = "changed meanwhile"
    context = team.desk.context(journal)
    before_write(context, lambda: team.write_stored(spare="changed meanwhile"))
    assert isinstance(team.run(advance(context)), RotationOutcome)
    team.check()


def test_a_deletion_without_effect_is_an_error(team: Team, bloq: LocalBloq) -> None:
    journal = MemoryJournal()
    team.advance(journal, grace=LONG)
    journal.end_grace()
    bloq.add_fault(Fault(kind=FaultKind.HTML, status=204, service="accounts", method="DELETE", path="*"))
    with pytest.raises(BloqRotationError, match="still lists"):
        team.rotate(journal)
    team.rotate(journal)
    team.check()


def test_a_pair_that_stops_working_after_the_deletion_is_an_error(team: Team) -> None:
    journal = MemoryJournal()
    team.advance(journal, grace=LONG)
    journal.end_grace()
    context = team.desk.context(journal)
    delete = context.delete_keys

    def delete_both(client_id: str) -> Any:
        team.bloq.delete_client_keys(team.stored_keys().client_id)
        return delete(client_id)

    context.delete_keys = delete_both  # type: ignore[method-assign]
    with pytest.raises(BloqRotationError, match="no longer accepts"):
        team.run(advance(context))


def test_the_page_of_a_firewall_is_not_taken_for_refused_keys(team: Team, bloq: LocalBloq) -> None:
    bloq.add_fault(Fault(kind=FaultKind.HTML, status=403, service="accounts", path="/auth/token", times=None))
    with pytest.raises(BloqUnavailable, match="a proxy or a firewall"):
        team.rotate()
    bloq.clear_faults()
    team.check()


def _die() -> None:
    raise KeyboardInterrupt


def before_write(context: RotationContext, act: Callable[[], Any]) -> None:
    """Do something just before the secret is written, once."""
    write, pending = context.vault.write_keys, [act]

    def written(*arguments: Any) -> int:
        while pending:
            pending.pop()()
        return write(*arguments)

    context.vault.write_keys = written  # type: ignore[assignment]


def before_create(context: RotationContext, act: Callable[[], Any]) -> None:
    """Do something just before the pair is created."""
    create = context.create_keys

    def created() -> Any:
        act()
        return create()

    context.create_keys = created  # type: ignore[method-assign]
