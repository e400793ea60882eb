"""Operators for credentials: rotate the client keys in Vault, and keep a shared access token fresh."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_bloq.arguments import seconds_of
from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.operators._base import BloqOperator

if TYPE_CHECKING:
    from airflow_provider_bloq.accounts.rotation import GracePeriod, RotationContext
    from airflow_provider_bloq.accounts.rotation_journal import RotationJournal

__all__ = [
    "BloqRotateClientKeysOperator",
    "BloqTokenBrokerOperator",
]


#: How long the journal is kept after the grace period: time to clear a failed rotation.
_JOURNAL_RETENTION = timedelta(days=90)


class BloqRotateClientKeysOperator(BloqOperator):
    """Replace the client keys of a ``bloq`` connection, which are in Vault, with new ones.

    Logs in to Accounts, creates a pair of client keys, mints a token to test it, writes it to Vault by check-and-set
    with only the two fields changed, waits a grace period in which both pairs work, deletes the old pair, and
    verifies. Running tasks are not disturbed: a task whose keys are rejected reads Vault again.

    The account's user and password come from their own Vault path through their own Vault connection, whose role also
    writes the client keys. The workers' role needs neither. The account's token is masked, and only this task
    holds it.

    Each step is recorded in the task state store before the next, so a try continues where the last one stopped: give
    the task retries. If a worker is lost together with a new secret, its pair is found by comparing the lists of pairs
    before and after, and deleted if this rotation certainly created it; otherwise nothing is deleted, and the
    error names the pairs. Clearing a rotation that succeeded rotates again; clearing one that failed continues it.
    Run one rotation of the same keys at a time (``max_active_runs=1``).

    Needs the task state store of Airflow 3.3. On 3.1 and 3.2 only a dry run works, since the loss of a worker would
    leave a pair that nobody knows of.

    Returns ``old_client_id``, ``new_client_id``, ``previous_kv_version``, ``kv_version`` and ``superseded_by``, without
    secrets; see :class:`~airflow_provider_bloq.accounts.rotation.RotationOutcome`.

    :param account_vault_conn_id: Id of the Vault connection that reads the account's login and writes the client keys.
        It must lead to the same Vault as the ``vault_conn_id`` of the ``bloq`` connection.
    :param account_vault_path: Path of the account's login, below the mount of that connection.
    :param account_user_field: Field with the user; by default ``user``, ``username`` or ``email``.
    :param account_password_field: Field with the password; by default ``password``.
    :param grace: How long both pairs work: seconds or a timedelta.
    :param dry_run: Whether only to log the steps: logs in and lists, but changes nothing.
    :param deferrable: Whether to wait for the end of the grace period in the triggerer.
    :param bloq_conn_id: Id of the connection whose client keys are replaced.
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
        """Run the rotation; if deferrable, defer for the grace period."""
        from airflow_provider_bloq.accounts.rotation import RotationOutcome, advance, plan
        from airflow_provider_bloq.flow.effects import sleep

        if self.dry_run_only:
            planned = self.hook.run(plan(self._rotation(context, _NoJournal())))
            for step in planned["steps"]:
                self.log.info("Would %s", step)
            return planned
        journal = self._journal(context)
        while True:
            # A new context each time: logins to Vault and Accounts may expire during the grace period.
            reached = self.hook.run(advance(self._rotation(context, journal)))
            if isinstance(reached, RotationOutcome):
                self.log.info("Rotated %s to %s", reached.old_client_id, reached.new_client_id)
                return reached.to_json()
            self.log.info("Both pairs work until %s", datetime.fromtimestamp(reached.until, UTC))
            if self.deferrable:
                self._defer_grace(reached)
            remaining = reached.until - datetime.now(UTC).timestamp()
            self.hook.run(sleep(max(0.0, remaining)))

    def execute_complete(self, context: Any, event: Any) -> dict[str, Any]:
        """Continue after the grace period, as the journal says."""
        return self.execute(context)

    def _defer_grace(self, grace: GracePeriod) -> None:
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        self.defer(
            trigger=DateTimeTrigger(moment=datetime.fromtimestamp(grace.until, UTC)),
            method_name="execute_complete",
        )

    def _rotation(self, context: Any, journal: RotationJournal) -> RotationContext:
        from airflow_provider_bloq.accounts.rotation import RotationContext, RotationOptions
        from airflow_provider_bloq.connection.reading import mask
        from airflow_provider_bloq.flow.retry import RetryPolicy
        from airflow_provider_bloq.vault.rotation import AccountLocation, RotationVault

        settings = self.hook.settings
        with raise_as_fail_exception():
            if settings.vault is None:
                raise BloqConfigurationError.of(
                    "vault_path",
                    "the client keys of the connection are not in Vault, so there is no place to write new ones to",
                    "Write the client keys to a KV engine of version 2, set vault_path, and clear login and password",
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
            # One timeout to connect, one for the response.
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
                    "this Airflow has none, so the loss of a worker would leave client keys that nobody knows of",
                    "Run rotations on Airflow 3.3 or newer; dry_run works here",
                    f"task {self.task_id!r}",
                )
        return StateStoreJournal(store, retention=self.grace + _JOURNAL_RETENTION)


class _NoJournal:
    """The journal of a dry run, which records nothing."""

    def read(self) -> None:
        """Return None."""

    def write(self, value: dict[str, Any]) -> None:
        """Raise RuntimeError: a dry run has nothing to record."""
        raise RuntimeError("a dry run changes nothing")

    def clear(self) -> None:
        """Do nothing."""


class BloqTokenBrokerOperator(BloqOperator):
    """Renew the shared access token before it expires, so that the tasks of a fleet only read it.

    Needs a member: a connection with ``sharing: vault`` and client keys. The tasks use a reader, one without keys.
    Schedule it more often than the token expires, and make ``valid_for`` longer than the time between two runs, so
    that one failed run does no harm.

    Each run also reads the client keys, and checks whether Nodes accepts the token. After the keys were rotated or the
    token was revoked, it is renewed even if it has not expired.

    Returns ``{"version": 7, "expires_in": 3541.2, "renewed": true}``: the version of the shared token in Vault (None if
    Vault could not be written), its remaining seconds, and whether this run renewed it.

    :param valid_for: Seconds for which the token must remain valid; otherwise it is renewed. A token with a shorter
        lifetime is renewed by each run.
    :param bloq_conn_id: Id of the connection.
    """

    template_fields: Sequence[str] = (*BloqOperator.template_fields, "valid_for")

    def __init__(self, *, valid_for: float | str = 1800.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.valid_for = valid_for

    def execute(self, context: Any) -> dict[str, Any]:
        """Renew the token if necessary.

        :raises BloqConfigurationError: The connection shares no token, or has no client keys.
        """
        from airflow_provider_bloq.auth.shared_token_provider import SharedTokenProvider

        with raise_as_fail_exception():
            seconds = self._seconds()
            provider = self.hook.bearer.provider
            if not isinstance(provider, SharedTokenProvider) or not provider.can_renew:
                raise BloqConfigurationError.of(
                    "sharing",
                    "a broker needs a connection that shares a token and has client keys to renew it",
                    "Set sharing to vault, set shared_vault_path, and add client keys or vault_path",
                    f"connection {self.bloq_conn_id!r}",
                )
        nodes = self.hook.nodes
        refuses = partial(self.hook.bearer.is_refused, nodes.request(nodes.SERVICES, {}, None, None))
        kept = self.hook.run(provider.keep_fresh(seconds, refuses))
        if kept.expires_in < seconds:
            self.log.warning(
                "The token is valid for %.0f s, less than valid_for (%.0f s).", kept.expires_in, seconds
            )
        return {"version": kept.version, "expires_in": round(kept.expires_in, 1), "renewed": kept.renewed}

    def _seconds(self) -> float:
        try:
            seconds = float(self.valid_for)
        except (TypeError, ValueError):
            seconds = -1.0
        # Also rejects NaN.
        if not seconds > 0:
            raise BloqConfigurationError.of(
                "valid_for",
                f"{self.valid_for!r} is not a number of seconds",
                "Give seconds, more than the time between two runs.",
                self.task_id,
            )
        return seconds
