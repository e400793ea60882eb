"""Ask Vault what helps to explain a failure; asked only after one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["mounted_kv_version", "token_lives"]

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
