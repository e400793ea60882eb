"""The access token for other libraries and for Airflow's HTTP operators."""

from __future__ import annotations

from typing import Any

import requests
from requests.auth import AuthBase

from airflow_provider_bloq.hooks.bloq import BloqHook

__all__ = [
    "BloqAuth",
]


# A DAG that imports this gives it to HttpOperator, whose module has loaded requests already.


class BloqAuth(AuthBase):
    """An ``auth`` for ``requests`` that signs requests to Bloq and answers a 401 by itself.

    ``requests.get(url, auth=BloqAuth("bloq_default"))`` works, and so does
    ``HttpOperator(auth_type=BloqAuth, ...)``: that calls it with the login and password of its HTTP
    connection, of which the login then names the ``bloq`` connection.

    :param bloq_conn_id: Id of a connection of the type ``bloq``. Nothing is read until a request is made.
    """

    def __init__(self, bloq_conn_id: str | None = None, _password: Any = None) -> None:
        self._hook = BloqHook(bloq_conn_id or BloqHook.default_conn_name)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a request that is about to be sent."""
        return self._hook.auth(request)
