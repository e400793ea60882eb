"""An account of the local service that calls Connect over real sockets."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import requests

from airflow_provider_bloq.testing.local import LocalBloq
from tests.local_service.service_caller import Caller, call


@dataclass(frozen=True)
class ConnectCaller:
    """One account with an access token."""

    bloq: LocalBloq
    token: str

    @classmethod
    def of(cls, bloq: LocalBloq) -> ConnectCaller:
        """Open an account of its own."""
        return cls(bloq, Caller.of(bloq, f"{uuid.uuid4()}@example.com").access_token())

    def send(self, method: str, path: str, **more: Any) -> requests.Response:
        """Call the REST API."""
        return call(method, f"{self.bloq.connect_url}/api/v1{path}", self.token, **more)

    def get(self, path: str, **query: Any) -> Any:
        """Return what a route answers, its numbers read exactly."""
        answer = self.send("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return json.loads(answer.text, parse_float=Decimal)

    def post(self, path: str, **body: Any) -> Any:
        """Return what a route answers to a body, its numbers read exactly."""
        answer = self.send("POST", path, json=body)
        assert answer.status_code == 200, answer.text
        return json.loads(answer.text, parse_float=Decimal)
