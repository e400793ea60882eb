"""JSON of absurd depth is refused, also where a library has raised the recursion limit."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from airflow_provider_bloq.flow import service


@pytest.mark.parametrize("text", ["{}", '[1, {"a": ["]]]", "{{{"]}]', '"text"', "null", b'{"a": 1}'])
def test_ordinary_json_is_read_as_ever(text: str | bytes) -> None:
    assert service.parse_json(text) == json.loads(text)


def test_a_large_answer_of_ordinary_depth_is_read() -> None:
    blocks = [{"logs": [{"topics": [[], ["]"]]}], "n": n} for n in range(5000)]
    assert service.parse_json(json.dumps(blocks)) == blocks


@pytest.mark.parametrize("text", ["", "{", "<html>", b"\xff\xfe\xfa", "[" * 500])
def test_what_is_no_json_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        service.parse_json(text)


@pytest.mark.parametrize("shape", ['"[" * 300000', '"[" * 300000 + "]" * 300000', "'{\"a\":' * 300000"])
def test_absurd_depth_is_refused_and_the_process_lives(shape: str) -> None:
    code = f"""
import sys
sys.setrecursionlimit(10**6)
from airflow_provider_bloq.flow.service import parse_json
try:
    parse_json({shape})
except ValueError as refusal:
    print(refusal)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "it is nested too deep")


def test_depth_is_limited_even_if_the_decoder_would_bear_it() -> None:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        deep = "[" * 2500 + "]" * 2500
        assert json.loads(deep)
        with pytest.raises(ValueError, match="nested too deep"):
            service.parse_json(deep)
        assert service.parse_json("[" * 1500 + "]" * 1500)
    finally:
        sys.setrecursionlimit(limit)
