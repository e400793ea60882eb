"""Talks as Bloq's official command-line client does (cloud-cli 4.0.0), header for header.

Nothing of that client is in here: it is its behaviour on the wire, and what it needs of an answer. Where it
would crash on an answer, this fails with a KeyError or a :class:`ClientFailure`.
"""

from __future__ import annotations

import base64
import http.client
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import jwt

_HEADERS = {
    "Accept": "*/*",
    "User-Agent": "node-fetch/1.0 (+https://github.com/bitinn/node-fetch)",
    "Accept-Encoding": "gzip,deflate",
    "Connection": "close",
}


class ClientFailure(AssertionError):
    """The client would report an error, with the status that it shows."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the official client fails on status {status}")
        self.status = status


@dataclass
class OfficialClient:
    """One installation of the client; it keeps its session as the client keeps it in a file."""

    accounts_url: str
    nodes_url: str
    access_token: str | None = None

    # Accounts

    def status(self) -> dict[str, bool]:
        return {
            "accounts": self._send("GET", self.accounts_url + "/").status == 200,
            "nodes": self._send("GET", self.nodes_url + "/").status == 200,
        }

    def login(self, user: str, password: str) -> None:
        basic = base64.b64encode(f"{user}:{password}".encode()).decode()
        answer = self._send("POST", self.accounts_url + "/auth", {"Authorization": f"Basic {basic}"})
        if answer.status != 200:
            raise ClientFailure(answer.status)
        self.access_token = json.loads(answer.body)["accessToken"]

    def profile(self) -> tuple[str, ...]:
        user = self._fetch("GET", self.accounts_url + "/users/me")
        return user["id"], user["email"], user["displayName"]

    def update_password(self, old: str, new: str) -> None:
        body = {"oldPassword": old, "newPassword": new}
        self._fetch("PUT", self.accounts_url + "/users/me/password", body)

    def signup(self) -> None:
        self._fetch("POST", self.accounts_url + "/users", raw=b"[object Object]")

    def verify(self, user: str, token: str) -> None:
        answer = self._send("PUT", f"{self.accounts_url}/users/{user}/token/{token}")
        if answer.status != 204:
            raise ClientFailure(answer.status)

    def client_token(self, client_id: str, client_secret: str) -> tuple[str, str]:
        body = {"grantType": "clientCredentials", "clientId": client_id, "clientSecret": client_secret}
        tokens = self._fetch("POST", self.accounts_url + "/auth/token", body)
        return tokens["accessToken"], tokens["refreshToken"]

    def create_client_keys(self) -> tuple[str, str]:
        keys = self._fetch("POST", self.accounts_url + "/users/me/client-keys")
        return keys["clientId"], keys["clientSecret"]

    def list_client_keys(self) -> list[str]:
        return [key["id"] for key in self._fetch("GET", self.accounts_url + "/users/me/client-keys")]

    def remove_client_keys(self, key_id: str) -> None:
        url = f"{self.accounts_url}/users/me/client-keys/{key_id}"
        answer = self._send("DELETE", url, self._authorization())
        if answer.status != 204:
            raise ClientFailure(answer.status)

    def events(self, service: str) -> list[str]:
        events = self._fetch("GET", self.accounts_url + "/users/me/events")
        return [event["id"] for event in events if service in event["service"].lower()]

    # Nodes

    def chains(self, kind: str) -> list[tuple[str, ...]]:
        answer = self._send("GET", f"{self.nodes_url}/chains/{kind}")
        return [(row["chain"], row["network"], row["software"]) for row in json.loads(answer.body)]

    def services(self, kind: str) -> list[dict[str, Any]]:
        rows = self._fetch("GET", f"{self.nodes_url}/services/{kind}")
        return [
            {
                "id": row["id"],
                "chain": row["chain"],
                "network": row["network"],
                "software": row["metadata"]["software"],
                "performance": row["metadata"]["performance"],
                "region": row["vendor"]["region"],
            }
            for row in rows
            if not row.get("disabled")
        ]

    def disable_service(self, service_id: str) -> None:
        self._fetch("DELETE", f"{self.nodes_url}/services/cluster/{service_id}")

    def create_node(self, service_id: str, auth_type: str) -> dict[str, Any]:
        self._require_manager()
        body = {"serviceId": service_id, "authType": auth_type}
        return self._node(self._fetch("POST", self.nodes_url + "/users/me/nodes", body))

    def list_nodes(self, *, all_users: bool = False, all_states: bool = False) -> list[dict[str, Any]]:
        rows = self._fetch("GET", self.nodes_url + ("/nodes" if all_users else "/users/me/nodes"))
        shown = [
            {"id": row["id"], "ip": row["ip"], "state": row["state"], **self._made_of(row)} for row in rows
        ]
        return shown if all_states else [row for row in shown if row["state"] != "stopped"]

    def show_node(self, node_id: str) -> dict[str, Any]:
        return self._node(self._fetch("GET", f"{self.nodes_url}/users/me/nodes/{node_id}"))

    def node_logs(self, node_id: str, lines: int = 100) -> str:
        url = f"{self.nodes_url}/users/me/nodes/{node_id}/logs?lines={lines}"
        text = self._fetch("GET", url)["data"]
        assert isinstance(text, str)
        return text

    def remove_node(self, node_id: str) -> None:
        self._fetch("DELETE", f"{self.nodes_url}/users/me/nodes/{node_id}")

    # Clusters

    def create_cluster(
        self, service_id: str, auth_type: str, capacity: int, alias: str | None = None
    ) -> dict[str, Any]:
        self._require_manager()
        body = {"serviceId": service_id, "authType": auth_type, "capacity": capacity}
        if alias is not None:
            body["alias"] = alias
        return self._cluster(self._fetch("POST", self.nodes_url + "/users/me/clusters", body))

    def list_clusters(self, *, all_users: bool = False) -> list[dict[str, Any]]:
        rows = self._fetch("GET", self.nodes_url + ("/clusters" if all_users else "/users/me/clusters"))
        return [
            {
                "id": row["id"],
                "name": row["alias"] or row["name"],
                "state": self._cluster_state(row),
                "health": round(row.get("healthCount", 0) / row["capacity"] * 100),
                "auth": row["auth"]["type"],
                "createdAt": row["createdAt"],
                **({"user": row["user"]["email"]} if all_users else {}),
            }
            for row in rows
        ]

    def show_cluster(self, cluster_id: str) -> dict[str, Any]:
        return self._cluster(self._fetch("GET", f"{self.nodes_url}/users/me/clusters/{cluster_id}"))

    def update_cluster(self, cluster_id: str, capacity: int = 2, service_id: str | None = None) -> None:
        body: dict[str, Any] = {"capacity": capacity}
        if service_id is not None:
            body["serviceId"] = service_id
        self._fetch("PATCH", f"{self.nodes_url}/users/me/clusters/{cluster_id}", body)

    def abort_update(self, cluster_id: str) -> None:
        self._fetch("DELETE", f"{self.nodes_url}/users/me/clusters/{cluster_id}/updatingService")

    def set_alias(self, cluster_id: str, alias: str) -> None:
        self._fetch("POST", f"{self.nodes_url}/users/me/clusters/{cluster_id}/alias", {"alias": alias})

    def remove_cluster(self, cluster_id: str, *, as_admin: bool = False) -> None:
        self._fetch("DELETE", f"{self.nodes_url}{'' if as_admin else '/users/me'}/clusters/{cluster_id}")

    # What the client does with requests and answers

    def _fetch(self, method: str, url: str, body: Any = None, raw: bytes | None = None) -> Any:
        data = json.dumps(body).encode() if body is not None else raw
        answer = self._send(method, url, self._authorization(), data)
        if answer.status == 204:
            return None
        if answer.status not in (200, 201):
            raise ClientFailure(answer.status)
        return json.loads(answer.body)

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.access_token}"} if self.access_token else {}

    def _send(
        self, method: str, url: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> _Answer:
        where = urlsplit(url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
        sent = {**_HEADERS, "Content-Type": "application/json", **(headers or {})}
        if method in ("POST", "PUT") or body is not None:
            sent["Content-Length"] = str(len(body or b""))
        try:
            target = (where.path or "/") + (f"?{where.query}" if where.query else "")
            connection.request(method, target, body=body, headers=sent)
            answer = connection.getresponse()
            return _Answer(answer.status, answer.read())
        finally:
            connection.close()

    def _require_manager(self) -> None:
        claims = jwt.decode(self.access_token or "", options={"verify_signature": False})
        assert "manager" in claims["aud"]

    def _node(self, row: dict[str, Any]) -> dict[str, Any]:
        shown = {name: row[name] for name in ("id", "chain", "network", "state", "ip")}
        return {**shown, **self._made_of(row), **self._credentials(row["auth"])}

    def _cluster(self, row: dict[str, Any]) -> dict[str, Any]:
        names = ("id", "name", "alias", "chain", "network", "domain", "capacity", "region")
        shown = {name: row[name] for name in names}
        state = self._cluster_state(row)
        return {**shown, "state": state, **self._made_of(row), **self._credentials(row["auth"])}

    @staticmethod
    def _cluster_state(row: dict[str, Any]) -> str:
        return "updating" if row["state"] == "started" and row.get("updatingService") else str(row["state"])

    @staticmethod
    def _made_of(row: dict[str, Any]) -> dict[str, str]:
        data = row["serviceData"]
        return {"version": data["software"], "performance": data["performance"]}

    @staticmethod
    def _credentials(auth: dict[str, Any]) -> dict[str, str]:
        if auth["type"] == "basic":
            return {"auth": "basic", "user": auth["user"], "password": auth["pass"]}
        return {"auth": auth["type"]}


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
