"""Turns errors of hvac and requests into errors that name the wrong setting and its remedy.

After some failures it asks Vault once or twice more, to tell their causes apart.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from airflow_provider_bloq.auth.credentials import REDACTED, Secret
from airflow_provider_bloq.exceptions import (
    BloqConfigurationError,
    BloqError,
    BloqVaultUnavailable,
    FieldProblem,
)
from airflow_provider_bloq.vault.kv import UnexpectedAnswer, api_path
from airflow_provider_bloq.vault.vault_settings import VaultSettings

__all__ = [
    "diagnose_login",
    "diagnose_read",
    "diagnose_write",
    "mounted_kv_version",
    "rename_fields",
    "wrong_engine",
]

E = TypeVar("E", bound=Exception)

_MAX_QUOTED_CHARACTERS = 300
_KV_TYPES = frozenset({"kv", "generic"})
#: Auth types of Airflow's VaultHook that configure the auth method instead of logging in with it.
_NEVER_LOGS_IN = frozenset({"azure", "radius"})
#: How an https server answers a plain http request.
_EXPECTS_TLS = "HTTP request to an HTTPS server"


def diagnose_login(error: Exception, settings: VaultSettings, where: str) -> BloqError:
    """Explain why a login failed.

    :param error: What hvac, requests or the Vault hook raised.
    :param settings: The Vault.
    :param where: Its connection, for error messages.
    :return: The error to raise.
    """
    if found := _server_error(error, settings, where):
        return found
    if isinstance(error, ImportError):
        return _wrong_connection(
            where,
            f"its auth_type {settings.auth_type!r} needs the Python package {error.name}",
            "Install it where the task runs, or choose another auth_type",
        )
    if settings.auth_type in _NEVER_LOGS_IN:
        return _wrong_connection(
            where,
            f"Airflow's Vault hook does not log in with auth_type {settings.auth_type!r}",
            "Choose another auth_type, such as approle, jwt or kubernetes",
        )
    if isinstance(error, KeyError | TypeError):
        return _not_a_vault(settings, where)
    return _wrong_connection(
        where,
        f"Vault refuses the login by {settings.auth_type!r}{_quoted(error, settings.secrets)}",
        "Check the login, password, auth_type and auth_mount_point of the connection",
    )


def diagnose_read(error: Exception, client: Any, settings: VaultSettings, path: str, where: str) -> BloqError:
    """Explain why a secret could not be read; may ask Vault once or twice more.

    :param error: What hvac, requests or :mod:`airflow_provider_bloq.vault.kv` raised.
    :param client: The :class:`hvac.Client` of the read.
    :param settings: The Vault.
    :param path: Path of the secret below the mount.
    :param where: The secret, for error messages.
    :return: The error to raise.
    """
    from hvac.exceptions import Forbidden, InvalidPath

    if found := _server_error(error, settings, where):
        return found
    if isinstance(error, InvalidPath) and (deleted := _deleted_version(error.json, path, where)):
        return deleted
    full = api_path(settings.kv_version, settings.mount, path)
    if not isinstance(error, Forbidden | InvalidPath | UnexpectedAnswer):
        return _refused(error, settings, "read", full, where)
    mounted = mounted_kv_version(client, settings.mount)
    if misread := wrong_engine(settings, mounted, where):
        return misread
    if isinstance(error, UnexpectedAnswer):
        return _not_a_vault(settings, where)
    for prefix, fault in ((f"{settings.mount}/", "repeats the mount"), ("data/", "begins with data/")):
        if path.startswith(prefix):
            return _wrong_path(
                where,
                f"it {fault}, so {full!r} was read",
                f"Write {path.removeprefix(prefix)!r}: the mount is the schema of the Vault connection"
                f" ({settings.mount!r}), and data/ is added if the engine needs it",
            )
    if isinstance(error, Forbidden):
        return _read_denied(settings, mounted, client, full, where)
    if any("no handler for route" in message for message in _messages(error)):
        return _wrong_connection(
            where,
            f"nothing is mounted at {settings.mount!r}",
            "Set the schema of the Vault connection to the mount of the KV engine",
        )
    return _wrong_path(
        where, f"there is no secret at {full!r}", "Write the client keys there, or correct the path"
    )


def diagnose_write(error: Exception, settings: VaultSettings, path: str, where: str) -> BloqError:
    """Explain why a secret of a v2 engine could not be written.

    :param error: What hvac, requests or :mod:`airflow_provider_bloq.vault.kv` raised.
    :param settings: The Vault.
    :param path: Path of the secret below the mount.
    :param where: The secret, for error messages.
    :return: The error to raise. If it is a :class:`BloqVaultUnavailable`, the secret may have been written
        nevertheless; otherwise it certainly was not.
    """
    from hvac.exceptions import Forbidden

    if found := _server_error(error, settings, where):
        return found
    if isinstance(error, UnexpectedAnswer):
        return BloqVaultUnavailable(
            f"{where}: the answer of {settings.url} to a write is not that of a Vault"
        )
    full = api_path(2, settings.mount, path)
    if isinstance(error, Forbidden):
        return _wrong_path(
            where,
            f"Vault does not permit this login to write {full!r}",
            f'Add to its policy: path "{full}" {{ capabilities = ["read", "update"] }}',
        )
    return _refused(error, settings, "write", full, where)


def rename_fields(error: E, names: Mapping[str, str]) -> E | BloqConfigurationError:
    """Return the error with other names of settings, if it is about settings.

    :param names: From the names for client keys to the names in the case at hand.
    """
    if not isinstance(error, BloqConfigurationError):
        return error
    return BloqConfigurationError(
        [FieldProblem(names.get(one.field, one.field), one.problem, one.remedy) for one in error.problems],
        error.where,
    )


def mounted_kv_version(client: Any, mount: str) -> int | None:
    """Ask for the version of the KV engine at a mount, as ``vault kv`` does.

    Vault answers every token that may do something below the mount.

    :param client: An :class:`hvac.Client` that is logged in.
    :param mount: Path at which the engine is mounted.
    :return: 1 or 2; None if Vault does not say, or if it is not a KV engine.
    """
    answer = _answer_or_none(lambda: client.read(f"sys/internal/ui/mounts/{mount}"))
    data = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(data, Mapping) or data.get("type") not in _KV_TYPES:
        return None
    return int((data.get("options") or {}).get("version") or 1)


def wrong_engine(settings: VaultSettings, mounted: int | None, where: str) -> BloqConfigurationError | None:
    """Return an error if the KV engine has the other version.

    :param settings: The Vault.
    :param mounted: Version of the engine that is mounted; None if unknown.
    :param where: The secret, for error messages.
    """
    if mounted in (None, settings.kv_version):
        return None
    return _wrong_connection(
        where,
        f"the KV engine at {settings.mount!r} is version {mounted}, but was read as version"
        f" {settings.kv_version}",
        f'Set "kv_engine_version": {mounted} in the extras of the Vault connection',
    )


def _wrong_connection(where: str, problem: str, remedy: str) -> BloqConfigurationError:
    return BloqConfigurationError.of("vault_conn_id", problem, remedy, where)


def _wrong_path(where: str, problem: str, remedy: str) -> BloqConfigurationError:
    return BloqConfigurationError.of("vault_path", problem, remedy, where)


def _refused(
    error: Exception, settings: VaultSettings, action: str, full: str, where: str
) -> BloqConfigurationError:
    return _wrong_path(
        where,
        f"Vault refuses to {action} {full!r}{_quoted(error, settings.secrets)}",
        "Check the path, the mount (the schema of the Vault connection) and the namespace",
    )


def _deleted_version(body: object, path: str, where: str) -> BloqConfigurationError | None:
    """Recognize a deleted current version: its metadata are in Vault's 404."""
    data = body.get("data") if isinstance(body, Mapping) else None
    metadata = data.get("metadata") if isinstance(data, Mapping) else None
    if not isinstance(metadata, Mapping):
        return None
    destroyed = bool(metadata.get("destroyed"))
    return _wrong_path(
        where,
        f"version {metadata.get('version')} of {path!r}, the current one, is"
        f" {'destroyed' if destroyed else 'deleted'}",
        "Write the client keys as a new version" + ("" if destroyed else ", or undelete this one"),
    )


def _read_denied(
    settings: VaultSettings, mounted: int | None, client: Any, full: str, where: str
) -> BloqConfigurationError:
    rule = f'path "{full}" {{ capabilities = ["read"] }}'
    if settings.auth_type == "token" and mounted is None and not _is_known_token(client):
        return _wrong_connection(
            where,
            "Vault does not know its token, or permits it nothing here",
            f"Enter a token that has not expired and whose policy contains: {rule}",
        )
    mount_check = "" if mounted else f". Also check that the schema {settings.mount!r} is a mount"
    return _wrong_path(
        where, f"Vault does not permit this login to read {full!r}", f"Add to its policy: {rule}{mount_check}"
    )


def _is_known_token(client: Any) -> bool:
    # A token without permission to look itself up counts as unknown.
    return isinstance(_answer_or_none(client.auth.token.lookup_self), Mapping)


def _answer_or_none(request: Callable[[], Any]) -> Any:
    from hvac.exceptions import VaultError
    from requests import RequestException

    try:
        return request()
    except (VaultError, RequestException):
        # The failure to explain is the one before.
        return None


def _server_error(error: Exception, settings: VaultSettings, where: str) -> BloqError | None:
    """Recognize a problem with the server or the network, whatever the request was."""
    from hvac import exceptions as hvac
    from requests import RequestException

    match error:
        case RequestException():
            return _unreachable(error, settings, where)
        case OSError():
            return _wrong_connection(
                where,
                f"a file that it names cannot be read: {_file_error(error)}",
                "Check jwt_token_path, kubernetes_jwt_path and client_kwargs in its extras",
            )
        case ValueError():
            # Such as a token file that is not text. The error describes it, but also quotes the token.
            return _wrong_connection(
                where,
                f"a value of the Vault connection, or a file that it names, cannot be used ({type(error).__name__})",
                "Correct the login, password and extras of the Vault connection, and the files that they name",
            )
        case hvac.InvalidRequest() if _EXPECTS_TLS in str(error.text):
            return _wrong_connection(
                where,
                f"the Vault at {settings.url} speaks https only",
                'Set "use_tls": true in its extras: a connection of type vault speaks http without it',
            )
        case hvac.VaultDown() if any("sealed" in message for message in _messages(error)):
            problem = "is sealed"
        case hvac.VaultNotInitialized():
            problem = "is not initialised"
        case hvac.RateLimitExceeded():
            problem = f"asks for fewer requests{_quoted(error, settings.secrets)}"
        case hvac.VaultDown() | hvac.InternalServerError() | hvac.BadGateway() | hvac.UnexpectedError():
            problem = f"fails{_quoted(error, settings.secrets)}"
        case _:
            return None
    return BloqVaultUnavailable(f"{where}: Vault at {settings.url} {problem}")


def _unreachable(error: Exception, settings: VaultSettings, where: str) -> BloqError:
    from airflow_provider_bloq.vault.http import UnsafeRedirect, UnsendableRequest

    if isinstance(error, UnsafeRedirect):
        return _wrong_connection(
            where,
            f"{settings.url} redirects to {error.target or 'an address that cannot be read'}, which would receive the"
            " Vault token or the login unencrypted",
            "Set host, port and use_tls of the connection to the https address of Vault itself; if a standby "
            "redirects, set api_addr of the active node to its https address",
        )
    if isinstance(error, UnsendableRequest):
        return _wrong_connection(
            where,
            f"its settings do not make a valid request to {settings.url} ({error.kind})",
            "Check host, namespace and proxies of the connection, and HTTP_PROXY, HTTPS_PROXY and ALL_PROXY in the "
            "environment of the task; special characters in a proxy's password are written as %2F",
        )
    reason = _reason(error)
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return _wrong_connection(
            where,
            f"the certificate of {settings.url} is not trusted: {reason}",
            'Set "verify" in its client_kwargs to the path of the CA certificates that sign it',
        )
    return BloqVaultUnavailable(f"{where}: Vault at {settings.url} cannot be reached: {reason}")


def _not_a_vault(settings: VaultSettings, where: str) -> BloqConfigurationError:
    return _wrong_connection(
        where,
        f"the server at {settings.url} does not answer like a Vault",
        "Check host, port and client_kwargs of the connection",
    )


def _messages(error: Exception) -> list[str]:
    errors = getattr(error, "errors", None)
    return [str(message) for message in errors] if isinstance(errors, list) else []


def _quoted(error: Exception, secrets: Iterable[Secret]) -> str:
    # Vault's own messages only: the body of another answer may be any page.
    text = " ".join(" ".join(_messages(error)).split())
    for secret in secrets:
        text = text.replace(secret.reveal(), REDACTED)
    return f": {text[:_MAX_QUOTED_CHARACTERS]}" if text else ""


def _reason(error: BaseException) -> str:
    """Return the operating system's reason inside the errors of requests and urllib3.

    The texts of requests and urllib3 are left out: they quote whole objects, headers, and the URLs of proxies.
    """
    from requests import RequestException

    while inner := _wrapped(error):
        error = inner
    if isinstance(error, OSError) and not isinstance(error, RequestException):
        return (str(error) or type(error).__name__)[:_MAX_QUOTED_CHARACTERS]
    return type(error).__name__


def _wrapped(error: BaseException) -> BaseException | None:
    candidates = (getattr(error, "reason", None), *error.args, error.__cause__)
    return next((inner for inner in candidates if isinstance(inner, BaseException)), None)


def _file_error(error: OSError) -> str:
    # The name of the file may be a token that was entered instead; an absolute path is not one.
    if error.filename is None or (isinstance(error.filename, str) and os.path.isabs(error.filename)):
        return str(error)
    return error.strerror or type(error).__name__
