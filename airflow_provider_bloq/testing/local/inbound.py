"""Reads what a request brings: its JSON object, its Basic login, a number in its query."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from aiohttp import web

from airflow_provider_bloq.testing.local.problems import ApiProblem

__all__ = ["basic_login", "json_object", "positive_integer", "text_field"]


async def json_object(request: web.Request) -> dict[str, Any]:
    """Return the body as a JSON object, whatever its Content-Type says.

    The documents' own samples post JSON without a Content-Type.

    :raises ApiProblem: The body is no JSON object (400).
    """
    try:
        body = json.loads(await request.read())
    except ValueError as error:
        raise ApiProblem(400, "InvalidBody", "The body is not JSON") from error
    if not isinstance(body, dict):
        raise ApiProblem(400, "InvalidBody", "The body is not a JSON object")
    return body


def text_field(body: dict[str, Any], name: str) -> str:
    """Return a field that must be a text and not empty.

    :raises ApiProblem: It is missing or of another kind (400).
    """
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise ApiProblem(400, "InvalidBody", f"{name} must be a text that is not empty")
    return value


def basic_login(header: str | None) -> tuple[str, str] | None:
    """Return user and password of an ``Authorization: Basic`` header; None if it is none."""
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None


def positive_integer(text: str, name: str) -> int:
    """Read a positive whole number.

    :raises ApiProblem: It is something else (400).
    """
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise ApiProblem(400, "InvalidParameter", f"{name} must be a positive whole number")
    return int(text)
