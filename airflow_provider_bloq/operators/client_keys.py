"""Operator that exchanges the client keys in Vault for new ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.operators._base import BloqOperator
from airflow_provider_bloq.validation import seconds_of

if TYPE_CHECKING:
    from airflow_provider_bloq.accounts.rotation import GracePeriod, RotationContext
    from airflow_provider_bloq.accounts.rotation_journal import RotationJournal

__all__ = [
    "BloqRotateClientKeysOperator",
    "BloqTokenBrokerOperator",
]


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
    ``superseded_by``; see :class:`~airflow_provider_bloq.accounts.rotation.RotationOutcome`. No secret.

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
        with raise_as_fail_exception():
            self.grace = timedelta(seconds=seconds_of("grace", grace, f"task {self.task_id!r}"))
        self.dry_run_only = dry_run
        self.deferrable = deferrable

    def execute(self, context: Any) -> dict[str, Any]:
        """Take the rotation as far as it goes; with ``deferrable``, the grace period is waited for elsewhere.

        :return: What was done.
        """
        from airflow_provider_bloq.accounts.rotation import RotationOutcome, advance, plan
        from airflow_provider_bloq.flow.effects import sleep

        if self.dry_run_only:
            planned = self.hook.run(plan(self._rotation(context, _NoJournal())))
            for step in planned["steps"]:
                self.log.info("Would %s", step)
            return planned
        journal = self._journal(context)
        while True:
            # Made anew for each stretch: logins at Vault and Accounts may not outlive a grace period.
            reached = self.hook.run(advance(self._rotation(context, journal)))
            if isinstance(reached, RotationOutcome):
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

    def _wait_elsewhere(self, grace: GracePeriod) -> None:
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        self.defer(
            trigger=DateTimeTrigger(moment=datetime.fromtimestamp(grace.until, UTC)),
            method_name="execute_complete",
        )

    def _rotation(self, context: Any, journal: RotationJournal) -> RotationContext:
        from airflow_provider_bloq.accounts.rotation import RotationContext, RotationOptions
        from airflow_provider_bloq.connection.masking import mask
        from airflow_provider_bloq.flow.retry import RetryPolicy
        from airflow_provider_bloq.vault.rotation import AccountLocation, RotationVault

        settings = self.hook.settings
        with raise_as_fail_exception():
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
        options = RotationOptions(
            grace=self.grace.total_seconds(),
            # To connect, and to wait for an answer.
            settle_seconds=2 * settings.timeout,
            generation=context["ti"].max_tries,
            policy=RetryPolicy(),
        )
        vault = RotationVault(settings.vault, account, timeout=settings.timeout, mask=mask)
        return RotationContext(
            accounts_url=settings.accounts_url, vault=vault, journal=journal, options=options
        )

    def _journal(self, context: Any) -> RotationJournal:
        from airflow_provider_bloq.accounts.rotation_journal import StateStoreJournal

        store = context.get("task_state_store")
        if store is None:
            with raise_as_fail_exception():
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


class BloqTokenBrokerOperator(BloqOperator):
    """Renew the shared access token before it ends, so that the tasks of a fleet may only read it.

    Runs with a connection that is a member: ``sharing: vault``, and client keys. The tasks then use one
    without keys, a reader. Schedule it more often than the token lives, and let ``valid_for`` be longer
    than the time between two runs: then a run that fails does no harm, the next is in time.

    Each run also reads the client keys and asks Nodes whether it refuses the token: after a rotation of the keys,
    and after the token was revoked, it is renewed however long it would live.

    Returns ``{"version": 7, "expires_in": 3541.2, "renewed": true}``: the version of the shared token in
    Vault (None where Vault could not be written at the time), for how many seconds it is still good, and
    whether this run renewed it.

    :param valid_for: For how many seconds from now the token has to be good; one that is not is renewed.
        A token that does not live that long when it is new is renewed by each run.
    :param bloq_conn_id: Id of the connection.
    """

    template_fields: Sequence[str] = (*BloqOperator.template_fields, "valid_for")

    def __init__(self, *, valid_for: float | str = 1800.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.valid_for = valid_for

    def execute(self, context: Any) -> dict[str, Any]:
        """Renew the token, if need be.

        :return: What the shared token is now. No secret.
        :raises BloqConfigurationError: The connection shares no token, or has no client keys.
        """
        from airflow_provider_bloq.auth.shared_provider import SharedTokenProvider

        with raise_as_fail_exception():
            seconds = self._seconds()
            provider = self.hook.bearer.provider
            if not isinstance(provider, SharedTokenProvider) or not provider.can_renew:
                raise BloqConfigurationError.of(
                    "sharing",
                    "a broker needs a connection that shares a token, and has client keys to renew it with",
                    "Set sharing to vault and shared_vault_path, and give it client keys or vault_path",
                    f"connection {self.bloq_conn_id!r}",
                )
        nodes = self.hook.nodes
        refuses = partial(self.hook.bearer.is_refused, nodes.request(nodes.SERVICES, {}, None, None))
        kept = self.hook.run(provider.keep_fresh(seconds, refuses))
        if kept.expires_in < seconds:
            self.log.warning(
                "The token is good for %.0f s, less than the %.0f s of valid_for.", kept.expires_in, seconds
            )
        return {"version": kept.version, "expires_in": round(kept.expires_in, 1), "renewed": kept.renewed}

    def _seconds(self) -> float:
        try:
            seconds = float(self.valid_for)
        except (TypeError, ValueError):
            seconds = -1.0
        # Not a number is not more than nothing either.
        if not seconds > 0:
            raise BloqConfigurationError.of(
                "valid_for",
                f"{self.valid_for!r} is no number of seconds",
                "Give it in seconds, longer than the time between two runs.",
                self.task_id,
            )
        return seconds
