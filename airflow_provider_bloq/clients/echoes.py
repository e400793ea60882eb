"""What a server says back, without the secrets that the request itself carried."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from airflow_provider_bloq.auth.flow import Request
from airflow_provider_bloq.auth.secret import REDACTED, Secret

__all__ = ["without_echoes"]


def without_echoes(said: Any, request: Request) -> Any:
    """Hide in what a server said whatever is secret of the request: error pages like to quote it.

    :param said: Decoded JSON; its texts are gone through, also in lists and objects.
    :param request: The request, as it was sent.
    :return: The same with ``***`` in the place of each secret.
    """
    return _hidden(said, tuple(_secrets_of(request)))


def _hidden(said: Any, secrets: tuple[Secret, ...]) -> Any:
    match said:
        case str():
            for secret in secrets:
                said = said.replace(secret.reveal(), REDACTED)
            return said
        case list():
            return [_hidden(one, secrets) for one in said]
        case dict():
            return {_hidden(name, secrets): _hidden(one, secrets) for name, one in said.items()}
    return said


def _secrets_of(request: Request) -> Iterator[Secret]:
    """Give each form in which what a request carried may come back."""
    scheme, _, credential = request.headers.get("Authorization", "").partition(" ")
    if credential:
        yield Secret(credential)
    if scheme == "Basic":
        yield from _password_in(Secret(credential))
    if request.path_key:
        yield Secret(quote(request.path_key.reveal(), safe=""))
        yield request.path_key


def _password_in(credential: Secret) -> Iterator[Secret]:
    try:
        user_and_password = Secret(b64decode(credential.reveal()).decode())
    except (binascii.Error, UnicodeDecodeError):
        return
    password = Secret(user_and_password.reveal().partition(":")[2])
    if password:
        yield password
