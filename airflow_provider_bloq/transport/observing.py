"""What a transport tells of the requests that it sends, and of those that others send through it."""

from __future__ import annotations

import time
from typing import Any

import requests
from requests.adapters import BaseAdapter

from airflow_provider_bloq.auth.events import Called, Observer
from airflow_provider_bloq.auth.flow import Request, Response
from airflow_provider_bloq.auth.origin import Origin
from airflow_provider_bloq.clients.retry import http_date
from airflow_provider_bloq.exceptions import BloqApiError

__all__ = ["ObservedAdapter", "answered", "unanswered"]


def answered(request: Request, response: Response) -> Called:
    """Tell of a request that was answered, whatever the answer says."""
    date = http_date(response.headers.get("date", ""))
    return Called(request.method, _without_query(request.url), response.elapsed, response.status, date)


def unanswered(request: Request, error: BloqApiError, elapsed: float) -> Called:
    """Tell of a request that was not.

    :param elapsed: Seconds that it took.
    """
    return Called(request.method, _without_query(request.url), elapsed, failure=type(error).__name__)


class ObservedAdapter(BaseAdapter):
    """Tells of each request that goes through another adapter: repeated and redirected ones, too.

    The time that it tells ends with the headers of the answer, and of the URL it tells the origin alone: what
    others put into their paths may be a key.

    :param adapter: Sends.
    :param observe: Is told.
    """

    def __init__(self, adapter: BaseAdapter, observe: Observer) -> None:
        super().__init__()
        self._adapter = adapter
        self._observe = observe

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request, and tell of it."""
        started = time.monotonic()
        try:
            response = self._adapter.send(request, *args, **kwargs)
        except Exception as error:
            self._tell(request, started, failure=type(error).__name__)
            raise
        # Through this an ``auth`` sends a request again that was refused.
        response.connection = self  # type: ignore[assignment]
        date = http_date(response.headers.get("Date", ""))
        self._tell(request, started, status=response.status_code, date=date)
        return response

    def close(self) -> None:
        """Close the connections that are kept open."""
        self._adapter.close()

    def _tell(self, request: requests.PreparedRequest, started: float, **outcome: Any) -> None:
        elapsed = time.monotonic() - started
        self._observe(Called(request.method or "", _origin(request.url or ""), elapsed, **outcome))


def _origin(url: str) -> str:
    try:
        return str(Origin.of(url))
    except ValueError:
        return ""


def _without_query(url: str) -> str:
    return url.partition("?")[0]
