"""A string that does not show itself."""

from __future__ import annotations

import hmac
from typing import Any

__all__ = ["REDACTED", "Secret"]

REDACTED = "***"


class Secret(str):
    """Holds a secret and looks like ``***`` to everything but :meth:`reveal`.

    To ``str``, ``repr``, ``format``, ``json``, ``pickle``, ``copy`` and ``dataclasses.asdict`` the
    text is ``***``: it is a ``str`` only so that an encoder that meets one by mistake writes three
    stars instead of failing or asking for the object's fields.
    """

    __slots__ = ("_hidden",)
    _hidden: str

    def __new__(cls, value: str) -> Secret:
        """Hide a value; hiding a Secret again changes nothing."""
        secret = super().__new__(cls, REDACTED)
        secret._hidden = value.reveal() if isinstance(value, Secret) else value
        return secret

    def reveal(self) -> str:
        """Return the secret itself. Call it only where it is written onto the wire."""
        return self._hidden

    def __repr__(self) -> str:
        return f"Secret('{REDACTED}')"

    def __bool__(self) -> bool:
        return bool(self._hidden)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return False
        return hmac.compare_digest(self._hidden.encode(), other._hidden.encode())

    def __ne__(self, other: object) -> bool:
        # Not left to Python: str has one of its own, to which all secrets are equal.
        return not self == other

    def __hash__(self) -> int:
        return hash(self._hidden)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        return self

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        # A pickle is read by others; what comes out of it is a plain, useless "***".
        return str, (REDACTED,)
