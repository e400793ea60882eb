"""The fixtures of the hooks, which the check of a connection uses as well."""

from __future__ import annotations

from tests.hooks.conftest import Connect, connect, keys, no_tokens_of_others, serve

__all__ = ["Connect", "connect", "keys", "no_tokens_of_others", "serve"]
