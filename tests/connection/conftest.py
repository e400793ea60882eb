"""Fixtures that parse a connection in which a test changes only the fields it is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_bloq.connection.settings import BloqSettings
from airflow_provider_bloq.exceptions import BloqConfigurationError

Parse = Callable[..., BloqSettings]
Reject = Callable[..., BloqConfigurationError]


@pytest.fixture
def parse() -> Parse:
    """Parse a valid connection with the given changes; keywords that are no standard field are extras."""

    def parse_with(
        host: Any = None,
        port: Any = None,
        login: Any = "a-client-id",
        password: Any = "a-client-secret",
        **extra: Any,
    ) -> BloqSettings:
        return BloqSettings.parse("bloq_default", host, port, login, password, extra)

    return parse_with


@pytest.fixture
def reject(parse: Parse) -> Reject:
    """Parse an invalid connection and return the error."""

    def reject_with(**parts: Any) -> BloqConfigurationError:
        try:
            parse(**parts)
        except BloqConfigurationError as error:
            assert all(problem.problem and problem.remedy for problem in error.problems)
            return error
        pytest.fail(f"{parts!r} was accepted")

    return reject_with
