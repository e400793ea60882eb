"""Operator that keeps the access token of a fleet fresh."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks.failures import failing_at_once
from airflow_provider_bloq.operators.base import BloqOperator

__all__ = ["BloqTokenBrokerOperator"]


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
        from airflow_provider_bloq.auth.shared import SharedTokenProvider

        with failing_at_once():
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
        kept = self.hook.run(provider.keep(seconds, refuses))
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
