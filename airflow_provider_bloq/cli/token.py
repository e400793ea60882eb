"""``token``: what the access token says of itself."""

from __future__ import annotations

from argparse import Namespace
from datetime import UTC, datetime
from typing import Any

from airflow_provider_bloq.auth.events import told
from airflow_provider_bloq.auth.token import claims_of
from airflow_provider_bloq.cli.screen import Screen
from airflow_provider_bloq.hooks.bloq import BloqHook

__all__ = ["show_token"]

_TIMES = ("iat", "nbf", "exp")


def show_token(arguments: Namespace, screen: Screen) -> int:
    """Get an access token as a task would, and show its claims and how long it lives; never the token."""
    hook = BloqHook(arguments.conn_id)
    with screen.busy("Getting an access token …"):
        token = hook.run(hook.bearer.provider.token())
    lives = hook.bearer.provider.expires_in or 0.0
    claims = claims_of(token.secret)
    if screen.as_json:
        screen.json({"claims": claims, "expires_in": round(lives, 1)})
        return 0
    rows = [(name, _shown(name, value)) for name, value in claims.items()]
    screen.table(("claim", "value"), [*rows, ("", f"lives {told(lives)}")])
    if not claims:
        screen.line(("The token is no JWT: it says nothing of itself.", "dim"))
    return 0


def _shown(name: str, value: Any) -> str:
    if name in _TIMES and isinstance(value, int | float):
        return f"{value} ({datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S} UTC)"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
