"""An account of the local service with its client keys, and its calls over real sockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import requests

from airflow_provider_bloq.testing.local import IssuedKeys, LocalAccount, LocalBloq

TIMEOUT = 10.0


@dataclass(frozen=True)
class Caller:
    """One account that calls the service."""

    bloq: LocalBloq
    account: LocalAccount
    keys: IssuedKeys

    @classmethod
    def of(cls, bloq: LocalBloq, email: str = "ann@example.com", *, manager: bool = False) -> Caller:
        """Open an account with client keys."""
        account = bloq.create_account(email, "a fine password", manager=manager)
        return cls(bloq, account, bloq.create_client_keys(account.id))

    def log_in(self) -> str:
        """Return a new account access token."""
        answer = self.accounts("POST", "/auth", auth=(self.account.email, self.account.password))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["accessToken"])

    def mint(self) -> dict[str, Any]:
        """Return the answer to the client-credentials grant."""
        answer = self.grant(
            grantType="clientCredentials",
            clientId=self.keys.client_id,
            clientSecret=self.keys.client_secret,
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def access_token(self) -> str:
        """Return a new client access token."""
        return str(self.mint()["accessToken"])

    def grant(self, **body: Any) -> requests.Response:
        """Call ``POST /auth/token``."""
        return self.accounts("POST", "/auth/token", json=body)

    def refresh(self, token: str) -> requests.Response:
        """Call ``POST /auth/token`` with a refresh token."""
        return self.grant(grantType="refreshToken", refreshToken=token)

    def accounts(self, method: str, path: str, token: str | None = None, **more: Any) -> requests.Response:
        """Call Accounts."""
        return call(method, self.bloq.accounts_url + path, token, **more)

    def nodes(self, method: str, path: str, token: str | None = None, **more: Any) -> requests.Response:
        """Call Nodes."""
        return call(method, self.bloq.nodes_url + path, token, **more)

    def create_node(self, token: str, *, chain: str = "eth", auth_type: str = "basic") -> dict[str, Any]:
        """Create a node and return its object."""
        body = {"serviceId": self.bloq.service_id(chain), "authType": auth_type}
        answer = self.nodes("POST", "/users/me/nodes", token, json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def create_cluster(self, token: str, *, capacity: int = 3, auth_type: str = "none") -> dict[str, Any]:
        """Create an eth cluster and return its object."""
        service_id = self.bloq.service_id("eth", kind="cluster")
        body = {"serviceId": service_id, "authType": auth_type, "capacity": capacity}
        answer = self.nodes("POST", "/users/me/clusters", token, json=body)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())


def call(method: str, url: str, token: str | None = None, **more: Any) -> requests.Response:
    """Send one request on a connection of its own, untouched by proxies and .netrc."""
    headers = dict(more.pop("headers", {}))
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, headers=headers, **{"timeout": TIMEOUT, **more})
