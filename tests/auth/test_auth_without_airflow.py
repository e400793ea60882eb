"""The layers below the hooks work where there is no Airflow at all."""

from __future__ import annotations

import json
import subprocess
import sys

from airflow_provider_bloq.testing.local import LocalBloq, LocalBloqOptions

#: Runs in an interpreter of its own; told where Bloq is, and the keys, on standard input.
PROGRAM = '''
import asyncio, importlib, json, pkgutil, sys

class NoAirflow:
    """Finds nothing, and says so, when anything asks for Airflow."""

    def find_spec(self, name, path=None, target=None):
        if name == "airflow" or name.startswith("airflow."):
            raise ImportError(f"{name} must not be imported here")

sys.meta_path.insert(0, NoAirflow())
try:
    import airflow
except ImportError:
    pass
else:
    sys.exit("airflow can be imported")

imported = []
for layer in ("auth", "flow", "accounts", "nodes", "rpc"):
    package = importlib.import_module(f"airflow_provider_bloq.{layer}")
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        imported.append(importlib.import_module(module.name).__name__)

from airflow_provider_bloq.auth.bearer import BearerAuth, TrustedOrigins
from airflow_provider_bloq.auth.credentials import ClientKeys, KeyReading
from airflow_provider_bloq.auth.token_provider import ClientKeysTokenProvider
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.auth.credentials import Secret
from airflow_provider_bloq.accounts.client import AccountsTokenEndpoint
from airflow_provider_bloq.nodes.client import AsyncNodesClient, NodesClient
from airflow_provider_bloq.flow.retry import RetryPolicy
from airflow_provider_bloq.flow.async_driver import AsyncDriver
from airflow_provider_bloq.flow.sync_driver import SyncDriver
from airflow_provider_bloq.flow.network import Network

told = json.load(sys.stdin)

class Keys:
    description = "standard input"
    identity = ("stdin",)

    def load(self):
        return KeyReading(ClientKeys(told["client_id"], Secret(told["client_secret"])))

    async def aload(self):
        return self.load()

    def forget(self):
        pass

policy = RetryPolicy()
bearer = BearerAuth(
    ClientKeysTokenProvider(AccountsTokenEndpoint(told["accounts"], policy), Keys()),
    TrustedOrigins([Origin.of(told["nodes"])]),
)
service = {"url": told["nodes"], "bearer": bearer, "policy": policy}
blocking = SyncDriver(Network(), mask=lambda secret: None)
found = {"blocking": NodesClient(run=blocking.run, **service).list()}

async def mask(secret):
    pass

async def awaited():
    driver = AsyncDriver(Network(), mask=mask)
    try:
        return await AsyncNodesClient(run=driver.run, **service).list()
    finally:
        await driver.close()

found["awaiting"] = asyncio.run(awaited())
found["modules"] = len(imported)
found["airflow"] = [name for name in sys.modules if name.partition(".")[0] == "airflow"]
json.dump(found, sys.stdout)
'''


def test_tokens_are_minted_and_used_in_an_interpreter_in_which_airflow_cannot_be_imported() -> None:
    with LocalBloq(LocalBloqOptions(upstreams={})) as bloq:
        account = bloq.create_account("ann@example.com", "a fine password")
        keys = bloq.create_client_keys(account.id)
        told = {
            "accounts": bloq.accounts_url,
            "nodes": bloq.nodes_url,
            "client_id": keys.client_id,
            "client_secret": keys.client_secret,
        }
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            input=json.dumps(told),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        found = json.loads(ran.stdout)
        assert (found["blocking"], found["awaiting"], found["airflow"]) == ([], [], [])
        assert found["modules"] > 20
        assert bloq.counters().mints == 1
        assert bloq.counters().calls["nodes GET /users/me/nodes"] == 2
