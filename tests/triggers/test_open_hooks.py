"""Opening a hook takes nothing from the event loop that a thread can do as well."""

from __future__ import annotations

import json
import os
import subprocess
import sys

#: Opens a hook in a fresh interpreter; prints which of the large libraries its event loop had to load itself.
SCRIPT = """
import asyncio, json, sys, threading

from airflow_provider_bloq.polling.shared_polls import open_hook

LARGE = {"aiohttp", "requests", "urllib3"}
assert not LARGE & set(sys.modules)
loaded = {}

def note(event, arguments):
    if event == "import" and arguments[0] in LARGE:
        loaded.setdefault(arguments[0], threading.current_thread() is threading.main_thread())

async def main():
    hook = await open_hook("bloq_default")
    await hook.__aexit__(None, None, None)

sys.addaudithook(note)
asyncio.run(main())
assert loaded.keys() >= {"aiohttp", "requests"}, loaded
print(json.dumps(sorted(name for name, on_loop in loaded.items() if on_loop)))
"""


def test_libraries_are_loaded_in_a_thread() -> None:
    connection = {"conn_type": "bloq", "login": "client-id", "password": "a-client-secret"}
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "AIRFLOW_CONN_BLOQ_DEFAULT": json.dumps(connection)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == []
