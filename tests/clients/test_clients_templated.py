"""Durations, in all the ways in which they are given."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_bloq.arguments import seconds_of
from airflow_provider_bloq.exceptions import BloqConfigurationError

pytestmark = pytest.mark.logic


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0.0),
        (1.5, 1.5),
        (timedelta(minutes=2), 120.0),
        (" 90 ", 90.0),
        ("1.5", 1.5),
    ],
)
def test_a_duration_is_seconds_or_a_timedelta(value: Any, seconds: float) -> None:
    found = seconds_of("timeout", value)
    assert found == seconds
    assert type(found) is float


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (-1, "-1 is negative"),
        ("-1", "'-1' is negative"),
        (timedelta(seconds=-1), "is negative"),
        (float("nan"), "nan is no duration"),
        ("inf", "'inf' is no duration"),
        (1e12, "is no duration"),
        ("1h", "'1h' is no duration"),
        ("", "'' is no duration"),
        (True, "True is no duration"),
        (None, "None is no duration"),
        ([1], "is no duration"),
    ],
)
def test_anything_else_is_refused_by_the_name_of_its_field(value: Any, problem: str) -> None:
    with pytest.raises(BloqConfigurationError) as wrong:
        seconds_of("timeout", value, "task 'create'")
    assert wrong.value.fields == ("timeout",)
    assert problem in wrong.value.problems[0].problem
    assert "timedelta" in wrong.value.problems[0].remedy
    assert str(wrong.value).startswith("task 'create'")
