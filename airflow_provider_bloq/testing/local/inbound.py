"""Parses requests: body, JSON, Basic login, numbers in the query."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from aiohttp import web

from airflow_provider_bloq.testing.local.problems import ApiProblem
from airflow_provider_bloq.testing.local.tokens import is_whole

__all__ = [
    "MalformedJson",
    "basic_login",
    "body_of",
    "digits",
    "json_object",
    "positive_integer",
    "read_json",
    "text_field",
]


#: Maximum nesting of JSON; real requests have a handful of levels.
_MAX_DEPTH = 500
_TEXT_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
#: Maximum length of a number: more than any height, amount or time has.
_MAX_DIGITS = 18


class MalformedJson(ValueError):
    """A text is not JSON; JSON that is too deep or has too long a number raises a plain ValueError."""


async def body_of(request: web.Request) -> bytes:
    """Return the decompressed body.

    :raises ApiProblem: It does not match its Content-Encoding (400).
    """
    try:
        return await request.read()
    except web.RequestPayloadError as error:
        raise ApiProblem(400, "InvalidBody", "The body cannot be unpacked") from error


def read_json(body: bytes | str, *, first_wins: bool = False) -> Any:
    """Decode JSON.

    :param body: The JSON.
    :param first_wins: Whether the first value of a duplicate name is used instead of the last.
    :raises MalformedJson: It is not JSON.
    :raises ValueError: It is nested too deep, or contains a number that is too long.
    """
    try:
        text = body if isinstance(body, str) else body.decode(json.detect_encoding(body), "surrogatepass")
        # The decoder relies on the recursion limit, which other code in this process may have raised.
        if _is_too_deep(text):
            raise ValueError("it is nested too deep")
        return json.loads(text, object_pairs_hook=_first_wins if first_wins else None)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MalformedJson("it is not JSON") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


async def json_object(request: web.Request) -> dict[str, Any]:
    """Return the body as a JSON object, whatever its Content-Type.

    The samples of Bloq's documentation send JSON without a Content-Type.

    :raises ApiProblem: The body is not a JSON object (400).
    """
    try:
        body = read_json(await body_of(request))
    except ValueError as error:
        raise ApiProblem(400, "InvalidBody", "The body is not JSON") from error
    if not isinstance(body, dict):
        raise ApiProblem(400, "InvalidBody", "The body is not a JSON object")
    return body


def text_field(body: dict[str, Any], name: str) -> str:
    """Return a field that must be a non-empty string.

    :raises ApiProblem: It is missing, empty or of another type (400).
    """
    value = body.get(name)
    if not isinstance(value, str) or not value or not is_whole(value):
        raise ApiProblem(400, "InvalidBody", f"{name} must be a text that is not empty")
    return value


def basic_login(header: str | None) -> tuple[str, str] | None:
    """Return user and password of an ``Authorization: Basic`` header; None for any other header."""
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    return (user, password) if colon else None


def digits(text: str) -> int | None:
    """Return the whole number that a text of digits stands for; None for any other text, or one that is too long."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None


def positive_integer(text: str, name: str) -> int:
    """Return the positive whole number that a text stands for.

    :raises ApiProblem: It is something else (400).
    """
    number = digits(text)
    if not number:
        raise ApiProblem(400, "InvalidParameter", f"{name} must be a positive whole number")
    return number


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


def _is_too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= _MAX_DEPTH:
        return False
    level = 0
    for found in _TEXT_OR_BRACKET.finditer(text):
        if found[0] in ("[", "{"):
            level += 1
            if level > _MAX_DEPTH:
                return True
        elif found[0] in ("]", "}"):
            level -= 1
    return False
