"""The access token for other libraries and for Airflow's HTTP operators."""

from __future__ import annotations

from typing import Any

import requests
from requests.auth import AuthBase

from airflow_provider_bloq.hooks.bloq import BloqHook

__all__ = [
    "BloqAuth",
]


# This module loads requests at the top: a DAG imports it for HttpOperator, whose module has loaded it already.


class BloqAuth(AuthBase):
    """An ``auth`` for ``requests`` that signs requests to Bloq and handles a 401.

    Use it as ``requests.get(url, auth=BloqAuth("bloq_default"))`` and ``HttpOperator(auth_type=BloqAuth, ...)``. The
    latter passes the login and password of its HTTP connection: put the id of the ``bloq`` connection into the login.

    :param bloq_conn_id: Id of a connection of the type ``bloq``. Nothing is read until a request is made.
    """

    def __init__(self, bloq_conn_id: str | None = None, _password: Any = None) -> None:
        self._hook = BloqHook(bloq_conn_id or BloqHook.default_conn_name)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a request that is about to be sent."""
        return self._hook.auth(request)
