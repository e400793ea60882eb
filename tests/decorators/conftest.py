"""What the tests of decorators share: the connection and a local service."""

from __future__ import annotations

from tests.hooks.conftest import connect, keys, no_tokens_of_others

__all__ = ["connect", "keys", "no_tokens_of_others"]
