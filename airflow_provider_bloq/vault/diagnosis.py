"""Ask Vault what helps to explain a failure; asked only after one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from airflow_provider_bloq.auth.credentials import REDACTED, Secret
from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqError, BloqVaultUnavailable
from airflow_provider_bloq.vault.kv import UnexpectedAnswer, api_path
from airflow_provider_bloq.vault.vault_settings import VaultSettings

__all__ = [
    "diagnose_login",
    "diagnose_read",
    "diagnose_write",
    "explain_absence",
    "explain_denial",
    "gone_version",
    "mounted_kv_version",
    "token_lives",
    "wrong_engine",
    "wrong_prefix",
]


_KV_TYPES = frozenset({"kv", "generic"})


def mounted_kv_version(client: Any, mount: str) -> int | None:
    """Tell the version of the KV engine at a mount, as ``vault kv`` asks for it.

    Vault answers every token that may do something below the mount.

    :param client: An :class:`hvac.Client` that is logged in.
    :param mount: Path that the engine is mounted at.
    :return: 1 or 2; None if Vault does not tell, or the engine is none of KV.
    """
    answer = _answer(lambda: client.read(f"sys/internal/ui/mounts/{mount}"))
    data = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(data, Mapping) or data.get("type") not in _KV_TYPES:
        return None
    return int((data.get("options") or {}).get("version") or 1)


def token_lives(client: Any) -> bool:
    """Tell whether Vault knows the token; False also where it may not look itself up."""
    return isinstance(_answer(client.auth.token.lookup_self), Mapping)


def _answer(request: Callable[[], Any]) -> Any:
    from hvac.exceptions import VaultError
    from requests import RequestException

    try:
        return request()
    except (VaultError, RequestException):
        # What is to be explained is the failure before this one.
        return None


def gone_version(body: object, path: str, where: str) -> BloqConfigurationError | None:
    """Recognise a current version that was deleted or destroyed.

    :param body: JSON of Vault's 404; with a version that is gone, it holds the version's metadata.
    :param path: Path of the secret below the mount.
    :param where: What the secret is called in error messages.
    """
    data = body.get("data") if isinstance(body, Mapping) else None
    metadata = data.get("metadata") if isinstance(data, Mapping) else None
    if not isinstance(metadata, Mapping):
        return None
    destroyed = bool(metadata.get("destroyed"))
    return BloqConfigurationError.of(
        "vault_path",
        f"version {metadata.get('version')} of {path!r}, the current one, is"
        f" {'destroyed' if destroyed else 'deleted'}",
        "Write the client keys as a new version" + ("" if destroyed else ", or undelete this one"),
        where,
    )


def wrong_engine(settings: VaultSettings, mounted: int | None, where: str) -> BloqConfigurationError | None:
    """Recognise a secret that was read as if it lay in a KV engine of the other version.

    :param mounted: Version of the engine that is mounted; None if Vault does not tell.
    """
    if mounted in (None, settings.kv_version):
        return None
    return BloqConfigurationError.of(
        "vault_conn_id",
        f"the KV engine at {settings.mount!r} is version {mounted}, but was read as version"
        f" {settings.kv_version}",
        f'Set "kv_engine_version": {mounted} in the extras of the Vault connection',
        where,
    )


def wrong_prefix(settings: VaultSettings, path: str, where: str) -> BloqConfigurationError | None:
    """Recognise a path that begins with what is put before it anyway."""
    for prefix, fault in ((f"{settings.mount}/", "repeats the mount"), ("data/", "begins with data/")):
        if path.startswith(prefix):
            return BloqConfigurationError.of(
                "vault_path",
                f"it {fault}, so {_full(settings, path)!r} was read",
                f"Write {path.removeprefix(prefix)!r}: the mount is the schema of the Vault connection"
                f" ({settings.mount!r}), and data/ is put in where the engine needs it",
                where,
            )
    return None


def explain_denial(
    settings: VaultSettings, mounted: int | None, client: Any, path: str, where: str
) -> BloqConfigurationError:
    """Tell which permission is missing, or that the connection's token is of no use."""
    full = _full(settings, path)
    rule = f'path "{full}" {{ capabilities = ["read"] }}'
    if settings.auth_type == "token" and mounted is None and not token_lives(client):
        return BloqConfigurationError.of(
            "vault_conn_id",
            "Vault does not know its token, or lets it do nothing here",
            f"Put a token into the connection that has not expired and whose policy holds: {rule}",
            where,
        )
    doubt = (
        "" if mounted else f". Check, too, that the Vault connection's schema {settings.mount!r} is a mount"
    )
    return BloqConfigurationError.of(
        "vault_path",
        f"Vault does not permit this login to read {full!r}",
        f"Add to its policy: {rule}{doubt}",
        where,
    )


def explain_absence(settings: VaultSettings, no_route: bool, path: str, where: str) -> BloqConfigurationError:
    """Tell that there is no secret, or not even an engine.

    :param no_route: Whether Vault says that nothing is mounted there.
    """
    if no_route:
        return BloqConfigurationError.of(
            "vault_conn_id",
            f"nothing is mounted at {settings.mount!r}",
            "Set the schema of the Vault connection to the mount of the KV engine",
            where,
        )
    return BloqConfigurationError.of(
        "vault_path",
        f"there is no secret at {_full(settings, path)!r}",
        "Write the client keys there, or correct the path",
        where,
    )


def _full(settings: VaultSettings, path: str) -> str:
    return api_path(settings.kv_version, settings.mount, path)


_QUOTED_CHARACTERS = 300
#: Auth types that Airflow's VaultHook offers but never logs in with: it configures the method instead.
_NEVER_LOGS_IN = frozenset({"azure", "radius"})
#: How a server that speaks https answers a plain request.
_EXPECTS_TLS = "HTTP request to an HTTPS server"


def diagnose_login(error: Exception, settings: VaultSettings, where: str) -> BloqError:
    """Explain why a login brought no Vault token.

    :param error: What hvac, requests or the Vault hook raised.
    :param settings: The Vault that was asked.
    :param where: What its connection is called in error messages.
    :return: The error to raise.
    """
    if found := _common(error, settings, where):
        return found
    if isinstance(error, ImportError):
        return BloqConfigurationError.of(
            "vault_conn_id",
            f"its auth_type {settings.auth_type!r} needs the Python package {error.name}",
            "Install it where the task runs, or choose another auth_type",
            where,
        )
    if settings.auth_type in _NEVER_LOGS_IN:
        return BloqConfigurationError.of(
            "vault_conn_id",
            f"Airflow's Vault hook does not log in with auth_type {settings.auth_type!r}",
            "Choose another auth_type, such as approle, jwt or kubernetes",
            where,
        )
    if isinstance(error, KeyError | TypeError):
        return _no_vault(settings, where)
    return BloqConfigurationError.of(
        "vault_conn_id",
        f"Vault refuses the login by {settings.auth_type!r}{_said(error, settings.secrets)}",
        "Check the login, password, auth_type and auth_mount_point of the connection",
        where,
    )


def diagnose_read(error: Exception, client: Any, settings: VaultSettings, path: str, where: str) -> BloqError:
    """Explain why a secret could not be read; asks Vault once or twice more where that helps.

    :param error: What hvac, requests or :mod:`airflow_provider_bloq.vault.kv` raised.
    :param client: The :class:`hvac.Client` whose read failed.
    :param settings: The Vault that was asked.
    :param path: Path of the secret below the mount.
    :param where: What the secret is called in error messages.
    :return: The error to raise.
    """
    from hvac.exceptions import Forbidden, InvalidPath

    if found := _common(error, settings, where):
        return found
    if isinstance(error, InvalidPath) and (gone := gone_version(error.json, path, where)):
        return gone
    if not isinstance(error, Forbidden | InvalidPath | UnexpectedAnswer):
        full = api_path(settings.kv_version, settings.mount, path)
        return BloqConfigurationError.of(
            "vault_path",
            f"Vault refuses to read {full!r}{_said(error, settings.secrets)}",
            "Check the path, the mount (the schema of the Vault connection) and the namespace",
            where,
        )
    mounted = mounted_kv_version(client, settings.mount)
    if misread := wrong_engine(settings, mounted, where):
        return misread
    if isinstance(error, UnexpectedAnswer):
        return _no_vault(settings, where)
    if misspelt := wrong_prefix(settings, path, where):
        return misspelt
    if isinstance(error, Forbidden):
        return explain_denial(settings, mounted, client, path, where)
    no_route = any("no handler for route" in message for message in _messages(error))
    return explain_absence(settings, no_route, path, where)


def diagnose_write(error: Exception, settings: VaultSettings, path: str, where: str) -> BloqError:
    """Explain why a secret of a v2 engine could not be written.

    :param error: What hvac, requests or :mod:`airflow_provider_bloq.vault.kv` raised.
    :param settings: The Vault that was asked.
    :param path: Path of the secret below the mount.
    :param where: What the secret is called in error messages.
    :return: The error to raise. Where it is a :class:`BloqVaultUnavailable`, the secret may have been
        written all the same; otherwise it surely was not.
    """
    from hvac.exceptions import Forbidden

    if found := _common(error, settings, where):
        return found
    if isinstance(error, UnexpectedAnswer):
        return BloqVaultUnavailable(f"{where}: {settings.url} answered a write in a form that Vault has not")
    full = api_path(2, settings.mount, path)
    if isinstance(error, Forbidden):
        return BloqConfigurationError.of(
            "vault_path",
            f"Vault does not permit this login to write {full!r}",
            f'Add to its policy: path "{full}" {{ capabilities = ["read", "update"] }}',
            where,
        )
    return BloqConfigurationError.of(
        "vault_path",
        f"Vault refuses to write {full!r}{_said(error, settings.secrets)}",
        "Check the path, the mount (the schema of the Vault connection) and the namespace",
        where,
    )


def _common(error: Exception, settings: VaultSettings, where: str) -> BloqError | None:
    """Recognise what is wrong with the server or the way to it, whatever was asked for."""
    from hvac import exceptions as hvac
    from requests import RequestException

    said = _said(error, settings.secrets)
    match error:
        case RequestException():
            return _unreachable(error, settings, where)
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
                f"the Vault at {settings.url} speaks https only",
                'Set "use_tls": true in its extras: a connection of type vault speaks http without it',
                where,
            )
        case _:
            return None
    return BloqVaultUnavailable(f"{where}: Vault at {settings.url} {problem}")


def _unreachable(error: Exception, settings: VaultSettings, where: str) -> BloqError:
    from airflow_provider_bloq.vault.http import UnsafeRedirect, UnsendableRequest

    if isinstance(error, UnsafeRedirect):
        return BloqConfigurationError.of(
            "vault_conn_id",
            f"{settings.url} redirects to {error.target or 'an address that cannot be read'}, where the Vault token"
            " or the login would go unencrypted",
            "Set host, port and use_tls of the connection to where Vault itself answers, by https; where a standby "
            "redirects, set api_addr of the active node to its https address",
            where,
        )
    if isinstance(error, UnsendableRequest):
        return BloqConfigurationError.of(
            "vault_conn_id",
            f"no request to {settings.url} can be made of it ({error.kind})",
            "Check host, namespace and proxies of the connection, and HTTP_PROXY, HTTPS_PROXY and ALL_PROXY in the "
            "environment of the task; special characters in a proxy's password are written as %2F",
            where,
        )
    reason = _reason(error)
    if "CERTIFICATE_VERIFY_FAILED" in reason:
        return BloqConfigurationError.of(
            "vault_conn_id",
            f"the certificate of {settings.url} is not trusted: {reason}",
            'Set "verify" in its client_kwargs to the path of the CA certificates that sign it',
            where,
        )
    return BloqVaultUnavailable(f"{where}: Vault at {settings.url} cannot be reached: {reason}")


def _no_vault(settings: VaultSettings, where: str) -> BloqConfigurationError:
    return BloqConfigurationError.of(
        "vault_conn_id",
        f"what answers at {settings.url} does not answer like a Vault",
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
