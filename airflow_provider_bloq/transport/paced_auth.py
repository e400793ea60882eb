"""The connection's pace for requests that other code sends through ``requests``."""

from __future__ import annotations

import requests
from requests.auth import AuthBase

from airflow_provider_bloq.auth.flow import Response
from airflow_provider_bloq.clients.operation import BlockingRunner
from airflow_provider_bloq.clients.pace import Pace

__all__ = ["PacedAuth"]


class PacedAuth(AuthBase):
    """Signs requests as another ``auth`` does, each when its turn has come.

    :param auth: Signs.
    :param pace: Gives the turns.
    :param run: Drives its flows.
    """

    def __init__(self, auth: AuthBase, pace: Pace, run: BlockingRunner) -> None:
        self._auth = auth
        self._pace = pace
        self._run = run

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Wait for the turn of a request that is about to be sent, and sign it."""
        self._run(self._pace.admit())
        request.register_hook("response", self._note)
        return self._auth(request)

    def _note(self, response: requests.Response, **sending: object) -> None:
        headers = {name.lower(): value for name, value in response.headers.items()}
        self._pace.note(Response(response.status_code, headers))
