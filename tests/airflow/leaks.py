"""Looks for secrets in everything that an Airflow has written: plain, in base64, or as a part of a JWT."""

from __future__ import annotations

import base64
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from airflow_provider_bloq.testing.airflow import LocalAirflow

__all__ = [
    "credentials",
    "found",
    "in_base64",
    "leaks",
    "made_by_bloq",
    "unrevealed",
    "vault_tokens",
    "written_by",
]

#: Every token of the local Bloq service, access or refresh, claims this issuer; no other token here does.
_ISSUER = "https://accounts.bloq.cloud"
#: Service tokens and batch tokens as OpenBao and Vault make them.
_VAULT_TOKEN = re.compile(rb"(?<![\w.-])(?:hv[sb]|[sb])\.[\w-]{24,}")


#: How the lines begin in which a canary prints the password of a node, or a path key of Connect.
_REVEALED = (b"node-password ", b"path-key ")


def in_base64(text: str) -> list[str]:
    """Return how a text looks within base64, wherever in the encoded whole it begins."""
    forms = set()
    for shift in range(3):
        # The characters at either end also encode what stands beside the text.
        encoded = base64.b64encode(b"x" * shift + text.encode())[4:-4].decode()
        forms |= {encoded, encoded.replace("+", "-").replace("/", "_")}
    return sorted(forms)


def found(secret: str, haystack: bytes) -> bool:
    """Look for a secret as it is and in base64."""
    return any(form.encode() in haystack for form in (secret, *in_base64(secret)))


def made_by_bloq(haystack: bytes) -> bool:
    """Look for the claims of a token of the local Bloq service, in plain JWTs and in base64 of these."""
    return any(found(form, haystack) for form in in_base64(_ISSUER))


def vault_tokens(haystack: bytes) -> list[bytes]:
    """Find what looks like a Vault token."""
    return _VAULT_TOKEN.findall(haystack)


def written_by(airflow: LocalAirflow) -> dict[str, bytes]:
    """Collect what an Airflow has written: each file of its home, each row of its database, its output."""
    files = {
        str(path.relative_to(airflow.home)): path.read_bytes()
        for path in airflow.home.rglob("*")
        if path.is_file()
    }
    # A long value is cut into the pages of the database's file, a row holds it whole.
    return {**files, **dict(_tables(airflow.database)), "output": airflow.log_tail(1_000_000).encode()}


def unrevealed(written: Mapping[str, bytes]) -> dict[str, bytes]:
    """Leave out of an Airflow's output the lines in which tasks themselves reveal a secret.

    The LocalExecutor copies what a task prints to the scheduler's output, and of what was masked Airflow hides
    nothing there but JWTs.

    :param written: See :func:`written_by`.
    """
    lines = written["output"].splitlines()
    kept = (line for line in lines if not any(revealed in line for revealed in _REVEALED))
    return {**written, "output": b"\n".join(kept)}


def credentials(whose: str, user: str, password: str) -> dict[str, str]:
    """Name all that must not be found of what opens a node or cluster."""
    return {
        f"the user of {whose}": user,
        f"the password of {whose}": password,
        f"the Basic header of {whose}": base64.b64encode(f"{user}:{password}".encode()).decode(),
    }


def leaks(secrets: Mapping[str, str], texts: Mapping[str, bytes]) -> list[str]:
    """Tell which secrets, by their names, and which tokens are in which of the texts.

    :param secrets: Values by what they are called.
    :param texts: What is searched, by what it is called.
    """
    return [
        f"{what} in {where}"
        for where, text in texts.items()
        for what, leaked in (
            *((name, found(secret, text)) for name, secret in secrets.items()),
            ("a token of Bloq", made_by_bloq(text)),
            ("a Vault token", bool(vault_tokens(text))),
        )
        if leaked
    ]


def _tables(database: Path) -> Iterator[tuple[str, bytes]]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        names = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        for name in names:
            rows = connection.execute(f'SELECT * FROM "{name}"').fetchall()
            values = (value for row in rows for value in row)
            yield (
                f"table {name}",
                b"\n".join(v if isinstance(v, bytes) else str(v).encode() for v in values),
            )
