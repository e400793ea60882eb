"""Fixtures for the tests of the commands: a local Bloq with a real Vault, and a way to call a command."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.cli.commands import main
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.anvil import Anvil
from airflow_provider_bloq.testing.local import LocalBloqOptions
from airflow_provider_bloq.testing.stack import LocalStack
from tests.support.shared_chain import SharedChain


@dataclass(frozen=True)
class Output:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def stage(self, name: str) -> dict[str, Any]:
        """The finding of ``doctor --json`` for a stage."""
        (found,) = [stage for stage in self.json["stages"] if stage["stage"] == name]
        return dict(found)

    @property
    def outcomes(self) -> dict[str, str]:
        return {stage["stage"]: stage["outcome"] for stage in self.json["stages"]}


#: Redefines the connection with changed extras and other fields.
Connect = Callable[..., None]
#: Calls a command.
Call = Callable[..., Output]


@pytest.fixture(scope="session")
def stack(chain: Anvil) -> Iterator[LocalStack]:
    with LocalStack(LocalBloqOptions(upstreams={"eth": lambda: SharedChain(chain)})) as running:
        yield running


@pytest.fixture(scope="session")
def node(stack: LocalStack) -> str:
    """Id of a node with a real chain behind it."""
    with pytest.MonkeyPatch.context() as patch:
        for conn_id, fields in stack.connections().items():
            patch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
        made = BloqHook().nodes.create(stack.bloq.service_id("eth")).id
    shared_providers.forget()
    return made


@pytest.fixture
def connect(stack: LocalStack, node: str, monkeypatch: pytest.MonkeyPatch) -> Connect:
    def connected(
        extra: dict[str, Any] | None = None, vault: dict[str, Any] | None = None, **bloq: Any
    ) -> None:
        connections = stack.connections()
        fields = connections["bloq_default"]
        pins = {"node_fingerprints": {node: [stack.bloq.node_fingerprint(node)]}}
        fields |= {**bloq, "extra": {**fields["extra"], **pins, **(extra or {})}}
        connections["vault_bloq"] |= vault or {}
        for conn_id, connection in connections.items():
            monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))

    return connected


@pytest.fixture
def call(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Call]:
    """Call ``airflow-bloq`` with the connection of the stack, unless the test has defined another."""
    connect()
    # The command sets it for the rest of the process.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    shared_providers.forget()

    def called(*arguments: str) -> Output:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        written = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Output(ended.value.code, written.out, written.err)

    yield called
    shared_providers.forget()
