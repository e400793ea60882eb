"""The page on errors lists every public error, and agrees with the code about its fields and retries."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from pathlib import Path

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

import airflow_provider_bloq
from airflow_provider_bloq import exceptions
from airflow_provider_bloq.exceptions import BloqError
from airflow_provider_bloq.flow.backoff import BackoffSettings, advice_on
from airflow_provider_bloq.hooks import _failures

pytestmark = pytest.mark.logic

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| `")
]
#: By the name of the class: what happened, fields, policy, final.
ERRORS = {row[0].strip("`"): row[1:] for row in ROWS if len(row) == 5}
KINDS: dict[str, type[BloqError]] = {
    name: kind
    for name in exceptions.__all__
    if inspect.isclass(kind := getattr(exceptions, name)) and issubclass(kind, BloqError)
}
DESCRIBED = sorted(KINDS.keys() - {"BloqError"})


def test_the_page_lists_every_public_error_and_no_other() -> None:
    assert sorted(ERRORS) == DESCRIBED
    assert all(f"`{name}`" in PAGE for name in exceptions.__all__)


def own_fields(kind: type[BloqError]) -> set[str]:
    """Return the fields that a class's own constructor sets."""
    if "__init__" not in vars(kind):
        return set()
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind.__init__)))
    targets = (target for node in ast.walk(tree) if isinstance(node, ast.Assign) for target in node.targets)
    return {target.attr for target in targets if isinstance(target, ast.Attribute)} - {"args"}


def test_the_fields_of_each_error_are_listed() -> None:
    for name, kind in KINDS.items():
        if name == "BloqError":
            continue
        listed = set(re.findall(r"`(\w+)`", ERRORS[name][1]))
        assert own_fields(kind) <= listed, name
        fields = {
            field for parent in kind.__mro__ if issubclass(parent, BloqError) for field in own_fields(parent)
        }
        assert listed - {"FieldProblem", "field", "problem", "remedy"} <= fields, name


def test_the_decision_of_the_retry_policy_is_listed() -> None:
    for name in DESCRIBED:
        error = KINDS[name].__new__(KINDS[name])
        error.__dict__.update(status=None, code=None, retry_after=None)
        advice = advice_on(error, 1, 0.5, BackoffSettings())
        words = (
            "as `retries` say" if advice is None else "fails at once" if advice.pause is None else "backs off"
        )
        assert words in ERRORS[name][2], name


def test_the_errors_that_airflow_never_retries_are_listed() -> None:
    twins = {getattr(_failures, name) for name in _failures.__all__ if name.endswith("Failure")}
    final = {base.__name__ for twin in twins for base in twin.__bases__ if base is not AirflowFailException}
    assert {name for name, cells in ERRORS.items() if cells[3].startswith("yes")} == final


def test_quoted_messages_are_those_of_the_code() -> None:
    package = Path(airflow_provider_bloq.__file__).parent
    code = "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py"))
    quoted = [text for row in ROWS if len(row) == 2 for text in re.findall(r"`([^`]+)`", row[0])]
    assert len(quoted) > 20
    assert [text for text in quoted if text not in code] == []
