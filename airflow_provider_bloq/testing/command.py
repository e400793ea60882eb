"""The command ``bloq-local``: runs the local Bloq service until it is interrupted."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from airflow_provider_bloq.testing.errors import EXTRA_REMEDY, missing_of_the_extra

if TYPE_CHECKING:
    from airflow_provider_bloq.testing.local import IssuedKeys, LocalAccount, LocalBloq

__all__ = [
    "main",
]


_REMEDY = f"bloq-local needs the extra 'testing': {EXTRA_REMEDY}"
_MODULES_OF_THE_EXTRA = ("aiohttp", "cryptography", "jwt")
_EMAIL = "demo@example.com"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service in the foreground.

    :param arguments: Command line; None for that of this process.
    :return: 0 after SIGINT or SIGTERM, 1 if a port is taken or the file cannot be written, 2 if the extra is
        not installed or an argument is wrong.
    """
    wanted = _parser().parse_args(arguments)
    if missing := missing_of_the_extra():
        print(f"{_REMEDY} (missing: {', '.join(missing)})", file=sys.stderr)
        return 2
    try:
        from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqError, LocalBloqOptions
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in _MODULES_OF_THE_EXTRA:
            raise
        print(_REMEDY, file=sys.stderr)
        return 2
    try:
        options = LocalBloqOptions(
            host=wanted.host,
            accounts_port=wanted.accounts_port,
            nodes_port=wanted.nodes_port,
            connect_port=wanted.connect_port,
            admin_port=wanted.admin_port,
            gateway_port=wanted.gateway_port,
            account_token_seconds=wanted.account_token_seconds,
            access_token_seconds=wanted.access_token_seconds,
            refresh_token_seconds=wanted.refresh_token_seconds,
            rotate_refresh=wanted.rotate_refresh,
            error_shape=wanted.error_shape,
            expiry_body=wanted.expiry_body,
            expired_status=wanted.expired_status,
            provision_seconds=wanted.provision_seconds,
            node_quota=wanted.node_quota,
            legacy_create=wanted.legacy_create,
            node_address=wanted.node_address,
            upstreams={} if wanted.no_chains else None,
            connect_upstreams={} if wanted.no_chains else None,
        )
    except LocalBloqError as error:
        print(f"bloq-local: {error}", file=sys.stderr)
        return 2
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        if wanted.keys_file is not None:
            # A killed run may have left one, which could be mistaken for that of this run.
            wanted.keys_file.unlink(missing_ok=True)
        with LocalBloq(options) as bloq:
            account = bloq.create_account(_EMAIL, secrets.token_urlsafe(12), manager=True)
            keys = bloq.create_client_keys(account.id)
            if not wanted.no_chains:
                _have_chains_ready()
            with _written(keys, wanted.keys_file):
                shown = _as_json if wanted.json else _as_text
                print(shown(bloq, account, keys), flush=True)
                stopped.wait()
    except (LocalBloqError, OSError) as error:
        print(f"bloq-local: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bloq-local",
        description="Run a local Bloq service (Accounts, Nodes and Connect) on loopback until Ctrl-C.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="loopback address to listen on (default: %(default)s)")
    add("--accounts-port", type=int, default=4000, help="0 for a free one (default: %(default)s)")
    add("--nodes-port", type=int, default=4002, help="0 for a free one (default: %(default)s)")
    add("--connect-port", type=int, default=4006, help="0 for a free one (default: %(default)s)")
    add("--admin-port", type=int, default=0, help="port of the admin API (default: a free one)")
    add("--gateway-port", type=int, help="also serve /accounts/v1 and /nodes/v1 on this port")
    add("--account-token-seconds", type=int, default=43_200, metavar="S", help="default: %(default)s")
    add("--access-token-seconds", type=int, default=3_600, metavar="S", help="default: %(default)s")
    add("--refresh-token-seconds", type=int, default=31_536_000, metavar="S", help="default: %(default)s")
    add(
        "--rotate-refresh",
        action="store_true",
        help="each refresh revokes the refresh token and issues another",
    )
    add("--error-shape", choices=("problem", "code"), default="problem", help="default: %(default)s")
    add("--expiry-body", choices=("plain", "json", "problem"), default="plain", help="default: %(default)s")
    add("--expired-status", type=int, choices=(401, 403), default=401, help="default: %(default)s")
    add("--provision-seconds", type=float, default=0.0, metavar="S", help="how long new nodes take to start")
    add("--node-quota", type=int, default=10, help="nodes that a user may run at once (default: %(default)s)")
    add(
        "--legacy-create", action="store_true", help="also accept the create body {image, large, jwt} of 2019"
    )
    add("--node-address", choices=("own-ip", "port-in-ip"), default="own-ip", help="default: %(default)s")
    add("--no-chains", action="store_true", help="run no chains behind the nodes and Connect")
    add("--json", action="store_true", help="print one line of JSON instead of text")
    add(
        "--keys-file",
        type=Path,
        metavar="FILE",
        help="also write the client keys to FILE once all is ready, in the format of 'bao kv put … @FILE'",
    )
    return parser


def _have_chains_ready() -> None:
    """Download the program behind Ethereum nodes now, because the first create would time out waiting for it."""
    from airflow_provider_bloq.testing.anvil import anvil_binary
    from airflow_provider_bloq.testing.errors import TestingSetupError

    try:
        anvil_binary()
    except TestingSetupError as error:
        print(f"bloq-local: Ethereum nodes have no chain: {error}", file=sys.stderr)


@contextmanager
def _written(keys: IssuedKeys, path: Path | None) -> Iterator[None]:
    """Write the keys to a file that only this user can read, and delete it afterwards.

    :raises OSError: The file cannot be written.
    """
    if path is None:
        yield
        return
    unfinished = path.with_name(f"{path.name}.part")
    text = json.dumps({"clientId": keys.client_id, "clientSecret": keys.client_secret})
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"{text}\n")
    unfinished.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _facts(bloq: LocalBloq, account: LocalAccount, keys: IssuedKeys) -> dict[str, str]:
    facts = {
        "accounts_url": bloq.accounts_url,
        "nodes_url": bloq.nodes_url,
        "connect_url": bloq.connect_url,
        "user": account.email,
        "password": account.password,
        "client_id": keys.client_id,
        "client_secret": keys.client_secret,
        "admin_url": bloq.admin_url,
        "admin_bearer": bloq.admin_bearer,
        "ca_bundle": str(bloq.ca_bundle),
    }
    if bloq.gateway_url is not None:
        facts["gateway_url"] = bloq.gateway_url
    return facts


def _as_json(bloq: LocalBloq, account: LocalAccount, keys: IssuedKeys) -> str:
    return json.dumps(_facts(bloq, account, keys))


def _as_text(bloq: LocalBloq, account: LocalAccount, keys: IssuedKeys) -> str:
    rows = [f"  {name.replace('_', ' '):14} {value}" for name, value in _facts(bloq, account, keys).items()]
    return "\n".join(
        ["The local Bloq service is running. All of this ends with it:", *rows, "Ctrl-C stops it."]
    )


if __name__ == "__main__":
    sys.exit(main())
