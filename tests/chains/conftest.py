"""What the tests of chains share: scripted nodes, asked with either driver."""

from __future__ import annotations

from tests.clients.conftest import kind, node, open_clients, serve

__all__ = ["kind", "node", "open_clients", "serve"]
