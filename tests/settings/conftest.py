"""Fixtures that parse a connection of which a test changes only what it is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_bloq.connection.settings import BloqSettings
from airflow_provider_bloq.exceptions import BloqConfigurationError

Parse = Callable[..., BloqSettings]
Refuse = Callable[..., BloqConfigurationError]


@pytest.fixture
def parse() -> Parse:
    """Parse a connection that is right but for what is given; keywords other than parts are extras."""

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
def refuse(parse: Parse) -> Refuse:
    """Parse a connection that must be refused, and return the error."""

    def refuse_with(**parts: Any) -> BloqConfigurationError:
        with pytest.raises(BloqConfigurationError) as caught:
            parse(**parts)
        assert all(problem.problem and problem.remedy for problem in caught.value.problems)
        return caught.value

    return refuse_with
