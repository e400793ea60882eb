"""One login at Vault through Airflow's ``VaultHook``, and the client it brings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.vault.diagnose import diagnose_login
from airflow_provider_bloq.vault.endpoint import VaultEndpoint, read_endpoint, require_token

__all__ = ["VaultSession"]


class VaultSession:
    """A Vault connection as it stood when it was opened, and its login once that is made.

    Made by :meth:`open`. Not thread safe.

    :param hook: A ``VaultHook`` that has sent nothing yet.
    :param endpoint: What its connection says.
    :param where: What the connection is called in error messages.
    """

    def __init__(self, hook: Any, endpoint: VaultEndpoint, where: str) -> None:
        self._hook = hook
        self._where = where
        self._client: Any = None
        self.endpoint = endpoint

    @classmethod
    def open(cls, vault_conn_id: str, *, timeout: float) -> Self:
        """Read the Airflow connection; nothing is sent to Vault.

        :param vault_conn_id: Id of the Vault connection.
        :param timeout: Seconds that each request to Vault may take to connect, and again to answer.
        :raises BloqConfigurationError: The connection is missing or wrong.
        """
        from airflow.providers.common.compat.sdk import AirflowNotFoundException
        from airflow.providers.hashicorp.hooks.vault import VaultHook
        from hvac.exceptions import VaultError

        from airflow_provider_bloq.vault.wire import VaultWire

        where = f"Vault connection {vault_conn_id!r}"
        problem = None
        try:
            hook = VaultHook(vault_conn_id=vault_conn_id, timeout=timeout)
        except AirflowNotFoundException:
            raise BloqConfigurationError.of(
                "vault_conn_id",
                f"Airflow has no connection {vault_conn_id!r}",
                "Create it with the type vault, or correct the id",
            ) from None
        except VaultError as error:
            problem = f"it is not complete: {error.args[0]}"
        except (AttributeError, TypeError, ValueError) as error:
            # A value of the wrong kind in the extras; the text of such an error may quote it.
            problem = f"its extras cannot be read ({type(error).__name__})"
        if problem is not None:
            raise BloqConfigurationError.of(
                "vault_conn_id", problem, "Correct the login, password and extras of the connection", where
            )
        endpoint = read_endpoint(hook.connection, where)
        options = hook.vault_client.kwargs
        options["session"] = VaultWire(endpoint.url, timeout, options)
        # Else a login would show this Vault the token that VAULT_TOKEN or ~/.vault-token holds for any.
        options["token"] = ""
        return cls(hook, endpoint, where)

    def log_in(self, mask: Callable[[str], None]) -> None:
        """Log in by the method that the connection names: one request, or none for a token.

        :param mask: Called with the Vault token before anything else is done with it.
        :raises BloqConfigurationError: Vault refuses the login, or it brings no token that can be sent.
        :raises BloqVaultUnavailable: Vault cannot be reached, is sealed or fails.
        """
        from hvac.exceptions import VaultError

        try:
            client = self._hook.vault_client.client
        except (VaultError, OSError, ImportError, KeyError, TypeError, ValueError) as error:
            failure = diagnose_login(error, self.endpoint, self._where)
        else:
            # The hook takes a password as it is, with the line break that it was pasted with.
            client.token = require_token(client.token, "what its login brought", self._where)
            mask(client.token)
            self._client = client
            return
        raise failure

    @property
    def logged_in(self) -> bool:
        """Whether :meth:`log_in` succeeded."""
        return self._client is not None

    @property
    def client(self) -> Any:
        """The :class:`hvac.Client` of the login.

        :raises RuntimeError: There was none yet.
        """
        if self._client is None:
            raise RuntimeError("not logged in at Vault")
        return self._client
