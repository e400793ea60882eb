"""Tell from a failed Vault request what is wrong and what to do about it.

Only what is returned here is shown. The errors of hvac and requests carry the whole request, and with it
the Vault token, so they are never chained to these.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow_provider_bloq.auth.secret import REDACTED, Secret
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqError, BloqVaultUnavailable
from airflow_provider_bloq.vault.kv import UnexpectedAnswer, api_path
from airflow_provider_bloq.vault.misplaced import (
    explain_absence,
    explain_denial,
    gone_version,
    wrong_engine,
    wrong_prefix,
)
from airflow_provider_bloq.vault.probe import mounted_kv_version

if TYPE_CHECKING:
    from airflow_provider_bloq.vault.endpoint import VaultEndpoint

__all__ = ["diagnose_login", "diagnose_read", "diagnose_write"]

_QUOTED_CHARACTERS = 300
#: Auth types that Airflow's VaultHook offers but never logs in with: it configures the method instead.
_NEVER_LOGS_IN = frozenset({"azure", "radius"})
#: How a server that speaks https answers a plain request.
_EXPECTS_TLS = "HTTP request to an HTTPS server"


def diagnose_login(error: Exception, endpoint: VaultEndpoint, where: str) -> BloqError:
    """Explain why a login brought no Vault token.

    :param error: What hvac, requests or the Vault hook raised.
    :param endpoint: The Vault that was asked.
    :param where: What its connection is called in error messages.
    :return: The error to raise.
    """
    if found := _common(error, endpoint, where):
        return found
    if isinstance(error, ImportError):
        return BloqConfigurationError.of(
            "vault_conn_id",
            f"its auth_type {endpoint.auth_type!r} needs the Python package {error.name}",
            "Install it where the task runs, or choose another auth_type",
            where,
        )
    if endpoint.auth_type in _NEVER_LOGS_IN:
        return BloqConfigurationError.of(
            "vault_conn_id",
            f"Airflow's Vault hook does not log in with auth_type {endpoint.auth_type!r}",
            "Choose another auth_type, such as approle, jwt or kubernetes",
            where,
        )
    if isinstance(error, KeyError | TypeError):
        return _no_vault(endpoint, where)
    return BloqConfigurationError.of(
        "vault_conn_id",
        f"Vault refuses the login by {endpoint.auth_type!r}{_said(error, endpoint.secrets)}",
        "Check the login, password, auth_type and auth_mount_point of the connection",
        where,
    )


def diagnose_read(error: Exception, client: Any, endpoint: VaultEndpoint, path: str, where: str) -> BloqError:
    """Explain why a secret could not be read; asks Vault once or twice more where that helps.

    :param error: What hvac, requests or :mod:`airflow_provider_bloq.vault.kv` raised.
    :param client: The :class:`hvac.Client` whose read failed.
    :param endpoint: The Vault that was asked.
    :param path: Path of the secret below the mount.
    :param where: What the secret is called in error messages.
    :return: The error to raise.
    """
    from hvac.exceptions import Forbidden, InvalidPath

    if found := _common(error, endpoint, where):
        return found
    if isinstance(error, InvalidPath) and (gone := gone_version(error.json, path, where)):
        return gone
    if not isinstance(error, Forbidden | InvalidPath | UnexpectedAnswer):
        full = api_path(endpoint.kv_version, endpoint.mount, path)
        return BloqConfigurationError.of(
            "vault_path",
            f"Vault refuses to read {full!r}{_said(error, endpoint.secrets)}",
            "Check the path, the mount (the schema of the Vault connection) and the namespace",
            where,
        )
    mounted = mounted_kv_version(client, endpoint.mount)
    if misread := wrong_engine(endpoint, mounted, where):
        return misread
    if isinstance(error, UnexpectedAnswer):
        return _no_vault(endpoint, where)
    if misspelt := wrong_prefix(endpoint, path, where):
        return misspelt
    if isinstance(error, Forbidden):
        return explain_denial(endpoint, mounted, client, path, where)
    no_route = any("no handler for route" in message for message in _messages(error))
    return explain_absence(endpoint, no_route, path, where)


def diagnose_write(error: Exception, endpoint: VaultEndpoint, path: str, where: str) -> BloqError:
    """Explain why a secret of a v2 engine could not be written.

    :param error: What hvac, requests or :mod:`airflow_provider_bloq.vault.kv` raised.
    :param endpoint: The Vault that was asked.
    :param path: Path of the secret below the mount.
    :param where: What the secret is called in error messages.
    :return: The error to raise. Where it is a :class:`BloqVaultUnavailable`, the secret may have been
        written all the same; otherwise it surely was not.
    """
    from hvac.exceptions import Forbidden

    if found := _common(error, endpoint, where):
        return found
    if isinstance(error, UnexpectedAnswer):
        return BloqVaultUnavailable(f"{where}: {endpoint.url} answered a write in a form that Vault has not")
    full = api_path(2, endpoint.mount, path)
    if isinstance(error, Forbidden):
        return BloqConfigurationError.of(
            "vault_path",
            f"Vault does not permit this login to write {full!r}",
            f'Add to its policy: path "{full}" {{ capabilities = ["read", "update"] }}',
            where,
        )
    return BloqConfigurationError.of(
        "vault_path",
        f"Vault refuses to write {full!r}{_said(error, endpoint.secrets)}",
        "Check the path, the mount (the schema of the Vault connection) and the namespace",
        where,
    )


def _common(error: Exception, endpoint: VaultEndpoint, where: str) -> BloqError | None:
    """Recognise what is wrong with the server or the way to it, whatever was asked for."""
    from hvac import exceptions as hvac
    from requests import RequestException

    said = _said(error, endpoint.secrets)
    match error:
        case RequestException():
            return _unreachable(error, endpoint, where)
        case OSError():
            return BloqConfigurationError.of(
                "vault_conn_id",
                f"a file that it names cannot be read: {_file_fault(error)}",
                "Check jwt_token_path, kubernetes_jwt_path and client_kwargs in its extras",
                where,
            )
        case ValueError():
            # Such as a token file that is no text. What is wrong with it stands in the error, and so does the token.
            return BloqConfigurationError.of(
                "vault_conn_id",
                f"a value of the Vault connection, or a file that it names, cannot be used ({type(error).__name__})",
                "Correct the login, password and extras of the Vault connection, and the files that they name",
                where,
            )
        case hvac.VaultDown() if any("sealed" in message for message in _messages(error)):
            problem = "is sealed"
        case hvac.VaultNotInitialized():
            problem = "is not initialised"
        case hvac.RateLimitExceeded():
            problem = f"asks for fewer requests{said}"
        case hvac.VaultDown() | hvac.InternalServerError() | hvac.BadGateway() | hvac.UnexpectedError():
            problem = f"fails{said}"
        case hvac.InvalidRequest() if _EXPECTS_TLS in str(error.text):
            return BloqConfigurationError.of(
                "vault_conn_id",
                f"the Vault at {endpoint.url} speaks https only",
                'Set "use_tls": true in its extras: a connection of type vault speaks http without it',
                where,
            )
        case _:
            return None
    return BloqVaultUnavailable(f"{where}: Vault at {endpoint.url} {problem}")


def _unreachable(error: Exception, endpoint: VaultEndpoint, where: str) -> BloqError:
    from airflow_provider_bloq.vault.wire import CannotBeSent, UnsafeRedirect

    if isinstance(error, UnsafeRedirect):
        return BloqConfigurationError.of(
            "vault_conn_id",
            f"{endpoint.url} redirects to {error.target or 'an address that cannot be read'}, where the Vault token"
            " or the login would go unencrypted",
            "Set host, port and use_tls of the connection to where Vault itself answers, by https; where a standby "
            "redirects, set api_addr of the active node to its https address",
            where,
        )
    if isinstance(error, CannotBeSent):
        return BloqConfigurationError.of(
            "vault_conn_id",
            f"no request to {endpoint.url} can be made of it ({error.kind})",
            "Check host, namespace and proxies of the connection, and HTTP_PROXY, HTTPS_PROXY and ALL_PROXY in the "
            "environment of the task; special characters in a proxy's password are written as %2F",
            where,
        )
    reason = _reason(error)
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return BloqConfigurationError.of(
            "vault_conn_id",
            f"the certificate of {endpoint.url} is not trusted: {reason}",
            'Set "verify" in its client_kwargs to the path of the CA certificates that sign it',
            where,
        )
    return BloqVaultUnavailable(f"{where}: Vault at {endpoint.url} cannot be reached: {reason}")


def _no_vault(endpoint: VaultEndpoint, where: str) -> BloqConfigurationError:
    return BloqConfigurationError.of(
        "vault_conn_id",
        f"what answers at {endpoint.url} does not answer like a Vault",
        "Check host, port and client_kwargs of the connection",
        where,
    )


def _messages(error: Exception) -> list[str]:
    errors = getattr(error, "errors", None)
    return [str(message) for message in errors] if isinstance(errors, list) else []


def _said(error: Exception, secrets: Iterable[Secret]) -> str:
    # Vault's own messages only: the body of any other answer may be a page of anything.
    text = " ".join(" ".join(_messages(error)).split())
    for secret in secrets:
        text = text.replace(secret.reveal(), REDACTED)
    return f": {text[:_QUOTED_CHARACTERS]}" if text else ""


def _reason(error: BaseException) -> str:
    """Give the reason below the wrappings of requests and urllib3, as far as the operating system tells it.

    Texts of requests and urllib3 are left out: they quote whole objects, headers, and the URLs of proxies.
    """
    from requests import RequestException

    while inner := _wrapped(error):
        error = inner
    if isinstance(error, OSError) and not isinstance(error, RequestException):
        return (str(error) or type(error).__name__)[:_QUOTED_CHARACTERS]
    return type(error).__name__


def _file_fault(error: OSError) -> str:
    """Quote what is wrong with a file, and its name if it is one: a token may have been entered instead."""
    named = error.filename
    if named is None or (isinstance(named, str) and os.path.isabs(named)):
        return str(error)
    return error.strerror or type(error).__name__


def _wrapped(error: BaseException) -> BaseException | None:
    candidates = (getattr(error, "reason", None), *error.args, error.__cause__)
    return next((inner for inner in candidates if isinstance(inner, BaseException)), None)
