"""Fixtures around real child processes, a real npm and real chains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

import airflow_provider_bloq
from airflow_provider_bloq.testing.anvil import Anvil
from tests.anvil.lifeline import Lifeline


@pytest.fixture
def repository() -> Path:
    """The folder that the package under test is imported from."""
    return Path(airflow_provider_bloq.__file__).parents[1]


@pytest.fixture
def call() -> Callable[..., Any]:
    """Call a JSON-RPC method of a chain and return its result."""

    def send(url: str, method: str, *params: Any) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as reply:
            answer = json.load(reply)
        assert "error" not in answer, answer
        return answer["result"]

    return send


@pytest.fixture
def anvil() -> Iterator[Anvil]:
    """A running chain."""
    with Anvil() as chain:
        yield chain


@pytest.fixture
def run_script(repository: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start Python code in a process of its own, with pipes to its standard input and output."""
    with ExitStack() as started:

        def start(code: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
            process = started.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", code, *arguments],
                    env={**os.environ, "PYTHONPATH": str(repository), **environment},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
            started.callback(process.kill)
            return process

        yield start


@pytest.fixture
def lifeline(tmp_path: Path) -> Iterator[Lifeline]:
    """A pipe that tells when a process has ended, also one that is nobody's child any more."""
    with closing(Lifeline(tmp_path / "lifeline")) as made:
        yield made
