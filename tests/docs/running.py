"""Runs blocks of Python as a DAG file is parsed: in a process of its own that can reach nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence

from tests.docs.markdown import Block

__all__ = ["run"]

_RUNNER = """
import json, socket, sys, traceback
def refuse(*arguments, **options):
    raise AssertionError("parsing reaches out")
import airflow.sdk
for name in ("connect", "connect_ex", "sendto", "sendmsg"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = socket.create_connection = refuse
airflow.sdk.BaseHook.get_connection = classmethod(refuse)
airflow.sdk.Connection.get = classmethod(refuse)
failed = 0
for number, (where, text) in enumerate(json.load(sys.stdin)):
    try:
        exec(compile(text, where, "exec"), {"__name__": f"documented_{number}", "__file__": where})
    except BaseException:
        failed = 1
        traceback.print_exc()
sys.exit(failed)
"""


def run(blocks: Sequence[Block]) -> subprocess.CompletedProcess[str]:
    """Run blocks one after another, each with names of its own; their traces name page and line."""
    # As many empty lines as stand before a block make line numbers those of the page.
    given = [(block.path.name, "\n" * (block.line - 1) + block.text) for block in blocks]
    return subprocess.run(
        [sys.executable, "-c", _RUNNER],
        input=json.dumps(given),
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
