"""Reads what a request brings: its body, its JSON, its Basic login, a number in its query."""

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


#: Levels of nesting that are read; what is meant well has a handful.
_DEEPEST = 500
_TEXT_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
#: Digits of a number that is read: more than any height, amount or time has.
_MOST_DIGITS = 18


class MalformedJson(ValueError):
    """A text that is not JSON, as against one that is but is not read: that is a plain ValueError."""


async def body_of(request: web.Request) -> bytes:
    """Return the body, unpacked.

    :raises ApiProblem: It is not packed as its Content-Encoding says (400).
    """
    try:
        return await request.read()
    except web.RequestPayloadError as error:
        raise ApiProblem(400, "InvalidBody", "The body cannot be unpacked") from error


def read_json(body: bytes | str, *, first_of_twins: bool = False) -> Any:
    """Decode JSON.

    :param body: The JSON.
    :param first_of_twins: Whether of a name that an object has twice the first value counts, not the last.
    :raises MalformedJson: It is none.
    :raises ValueError: It is nested too deep to be read without risk, or has a number that is too long.
    """
    try:
        text = body if isinstance(body, str) else body.decode(json.detect_encoding(body), "surrogatepass")
        # The decoder's own guard is the recursion limit, which others in this process may have raised.
        if _is_too_deep(text):
            raise ValueError("it is nested too deep")
        return json.loads(text, object_pairs_hook=_first_wins if first_of_twins else None)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MalformedJson("it is not JSON") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


async def json_object(request: web.Request) -> dict[str, Any]:
    """Return the body as a JSON object, whatever its Content-Type says.

    The documents' own samples post JSON without a Content-Type.

    :raises ApiProblem: The body is no JSON object (400).
    """
    try:
        body = read_json(await body_of(request))
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
    if not isinstance(value, str) or not value or not is_whole(value):
        raise ApiProblem(400, "InvalidBody", f"{name} must be a text that is not empty")
    return value


def basic_login(header: str | None) -> tuple[str, str] | None:
    """Return user and password of an ``Authorization: Basic`` header; None if it is none."""
    scheme, _, encoded = (header or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    return (user, password) if colon else None


def digits(text: str) -> int | None:
    """Read a whole number that is written in digits alone; None if it is none, or longer than any that is meant."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def positive_integer(text: str, name: str) -> int:
    """Read a positive whole number.

    :raises ApiProblem: It is something else (400).
    """
    number = digits(text)
    if not number:
        raise ApiProblem(400, "InvalidParameter", f"{name} must be a positive whole number")
    return number


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


def _is_too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= _DEEPEST:
        return False
    level = 0
    for found in _TEXT_OR_BRACKET.finditer(text):
        if found[0] in ("[", "{"):
            level += 1
            if level > _DEEPEST:
                return True
        elif found[0] in ("]", "}"):
            level -= 1
    return False
