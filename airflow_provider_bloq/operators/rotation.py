"""Operator that exchanges the client keys in Vault for new ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_bloq.clients.templated import seconds_of
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks.failures import failing_at_once
from airflow_provider_bloq.operators.base import BloqOperator

if TYPE_CHECKING:
    from airflow_provider_bloq.rotation.journal import Journal
    from airflow_provider_bloq.rotation.machine import Grace
    from airflow_provider_bloq.rotation.parties import Parties

__all__ = ["BloqRotateClientKeysOperator"]

#: How long the journal outlives the grace period: time for somebody to clear a rotation that failed.
JOURNAL_KEPT = timedelta(days=90)


class BloqRotateClientKeysOperator(BloqOperator):
    """Exchange the client keys of a ``bloq`` connection, which lie in Vault, for new ones.

    Logs in to Accounts, makes a pair of client keys, proves it by minting a token, writes it to Vault by
    check-and-set as the secret that was read with only the two fields changed, waits a grace period in
    which both pairs work, deletes the old pair, and verifies. Running tasks are not disturbed: one whose
    keys are refused reads Vault again.

    User and password of the account come from a path of their own, through a Vault connection of their
    own whose role also writes the client keys; the role of the workers needs neither. The account's token
    is masked, and lives in the memory of this task only.

    Every step is noted in the task state store before the next is done, so a try that dies anywhere is
    taken up by the next one: give the task retries. A pair whose secret was lost with a worker is found
    again by the list of pairs before and after, and deleted, if beyond doubt it was made by this
    rotation; else nothing is deleted, and the error names the pairs. To clear a rotation that succeeded
    is to rotate again; to clear one that failed is to take it up where it stands. Run one rotation of the
    same keys at a time (``max_active_runs=1``).

    Needs Airflow 3.3 for its task state store; on 3.1 and 3.2 only the dry run works, since a worker that
    dies there would leave a pair behind that nobody knows of.

    Returns ``old_client_id``, ``new_client_id``, ``previous_kv_version``, ``kv_version`` and
    ``superseded_by``; see :class:`~airflow_provider_bloq.rotation.completion.Outcome`. No secret.

    :param account_vault_conn_id: Id of the Vault connection that reads the account's login and writes the
        client keys. It leads to the same Vault as the ``vault_conn_id`` of the ``bloq`` connection.
    :param account_vault_path: Path of the account's login, below the mount of that connection.
    :param account_user_field: Field that holds the user; by default ``user``, ``username`` or ``email``.
    :param account_password_field: Field that holds the password; by default ``password``.
    :param grace: How long both pairs work: a timedelta, or seconds.
    :param dry_run: Whether only to tell what would be done: logs in and lists, and changes nothing.
    :param deferrable: Whether to wait for the end of the grace period without a worker slot.
    :param bloq_conn_id: Id of the connection whose client keys are exchanged.
    """

    template_fields: Sequence[str] = (
        *BloqOperator.template_fields,
        "account_vault_conn_id",
        "account_vault_path",
    )

    def __init__(
        self,
        *,
        account_vault_path: str,
        account_vault_conn_id: str,
        account_user_field: str | None = None,
        account_password_field: str | None = None,
        grace: timedelta | float = timedelta(hours=1),
        dry_run: bool = False,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.account_vault_path = account_vault_path
        self.account_vault_conn_id = account_vault_conn_id
        self.account_user_field = account_user_field
        self.account_password_field = account_password_field
        with failing_at_once():
            self.grace = timedelta(seconds=seconds_of("grace", grace, f"task {self.task_id!r}"))
        self.dry_run_only = dry_run
        self.deferrable = deferrable

    def execute(self, context: Any) -> dict[str, Any]:
        """Take the rotation as far as it goes; with ``deferrable``, the grace period is waited for elsewhere.

        :return: What was done.
        """
        from airflow_provider_bloq.auth.flow import sleep
        from airflow_provider_bloq.rotation.completion import Outcome
        from airflow_provider_bloq.rotation.machine import advance, plan

        if self.dry_run_only:
            planned = self.hook.run(plan(self._parties(context, _NoJournal())))
            for step in planned["steps"]:
                self.log.info("Would %s", step)
            return planned
        journal = self._journal(context)
        while True:
            # Made anew for each stretch: logins at Vault and Accounts may not outlive a grace period.
            reached = self.hook.run(advance(self._parties(context, journal)))
            if isinstance(reached, Outcome):
                self.log.info("Rotated %s to %s", reached.old_client_id, reached.new_client_id)
                return reached.to_json()
            self.log.info("Both pairs work until %s", datetime.fromtimestamp(reached.until, UTC))
            if self.deferrable:
                self._wait_elsewhere(reached)
            remaining = reached.until - datetime.now(UTC).timestamp()
            self.hook.run(sleep(max(0.0, remaining)))

    def execute_complete(self, context: Any, event: Any) -> dict[str, Any]:
        """Go on after the grace period.

        :param event: The time of its end; the journal knows it better.
        :return: What was done.
        """
        return self.execute(context)

    def _wait_elsewhere(self, grace: Grace) -> None:
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        self.defer(
            trigger=DateTimeTrigger(moment=datetime.fromtimestamp(grace.until, UTC)),
            method_name="execute_complete",
        )

    def _parties(self, context: Any, journal: Journal) -> Parties:
        from airflow_provider_bloq.clients.retry import RetryPolicy
        from airflow_provider_bloq.hooks.masking import mask
        from airflow_provider_bloq.rotation.parties import Parties, Rules
        from airflow_provider_bloq.vault.rotation import AccountLocation, RotationVault

        settings = self.hook.settings
        with failing_at_once():
            if settings.vault is None:
                raise BloqConfigurationError.of(
                    "vault_path",
                    "the connection does not name a place in Vault that holds its client keys, so there is none "
                    "to write new ones to",
                    "Write the client keys to a KV engine of version 2, name the path as vault_path, and empty "
                    "login and password",
                    f"connection {settings.conn_id!r}",
                )
        account = AccountLocation(
            self.account_vault_conn_id,
            self.account_vault_path,
            self.account_user_field,
            self.account_password_field,
        )
        rules = Rules(
            grace=self.grace.total_seconds(),
            # To connect, and to wait for an answer.
            patience=2 * settings.timeout,
            era=context["ti"].max_tries,
            policy=RetryPolicy(),
        )
        vault = RotationVault(settings.vault, account, timeout=settings.timeout, mask=mask)
        return Parties(accounts_url=settings.accounts_url, vault=vault, journal=journal, rules=rules)

    def _journal(self, context: Any) -> Journal:
        from airflow_provider_bloq.rotation.journal import StateStoreJournal

        store = context.get("task_state_store")
        if store is None:
            with failing_at_once():
                raise BloqConfigurationError.of(
                    "task_state_store",
                    "this Airflow has none, so a worker that dies would leave client keys behind that nobody knows "
                    "of",
                    "Run rotations on Airflow 3.3 or newer; a dry_run works here, too",
                    f"task {self.task_id!r}",
                )
        return StateStoreJournal(store, retention=self.grace + JOURNAL_KEPT)


class _NoJournal:
    """The journal of a dry run, which notes nothing."""

    def read(self) -> None:
        """Say that there is nothing."""

    def write(self, value: dict[str, Any]) -> None:
        """Keep nothing.

        :raises RuntimeError: Always: a dry run has nothing to note.
        """
        raise RuntimeError("a dry run changes nothing")

    def clear(self) -> None:
        """Leave all as it is."""
