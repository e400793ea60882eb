"""``@task.bloq``: functions get a hook, and all else is as with ``@task``."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, Asset, Metadata
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_bloq.auth.cache import shared_providers
from airflow_provider_bloq.decorators.bloq import bloq_task
from airflow_provider_bloq.exceptions import BloqClientKeysRejected, BloqConfigurationError, BloqNotFound
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook
from airflow_provider_bloq.hooks.retries import BloqRetryPolicy
from airflow_provider_bloq.testing.local import IssuedKeys, LocalBloq


def task(**options: Any) -> Callable[[Any], Any]:
    """Decorate, without Airflow's types: by them a decorated function takes all of its parameters."""
    return bloq_task(**options)


def result_of(called: Any, **context: Any) -> Any:
    """Run the task of a decorated function that was called."""
    return execute(called.operator, **context)


def execute(operator: Any, **context: Any) -> Any:
    # Airflow writes the arguments into the context, but not into an empty one.
    return operator.execute({"map_index_template": None, **context})


def test_a_function_gets_the_hook_and_what_it_is_called_with(keys: IssuedKeys) -> None:
    @task()
    def first(bloq: BloqHook, a: int, b: int = 2) -> tuple[Any, ...]:
        return bloq, a, b

    @task()
    def last(a: int, *rest: int, bloq: BloqHook, **named: int) -> tuple[Any, ...]:
        return bloq, a, rest, named.get("c")

    @task()
    def positional(a: int, bloq: BloqHook, /, b: int = 2) -> tuple[Any, ...]:
        return bloq, a, b

    @task()
    def by_default(a: int = 1, bloq: BloqHook | None = None) -> tuple[Any, ...]:
        return bloq, a

    for given, rest in [
        (first(1), (1, 2)),
        (first(a=1, b=3), (1, 3)),
        (last(1, 2, 3, c=4), (1, (2, 3), 4)),
        (positional(1, 3), (1, 3)),
        (positional(1, b=3), (1, 3)),
        (by_default(), (1,)),
        (by_default(7), (7,)),
    ]:
        hook, *others = result_of(given)
        assert isinstance(hook, BloqHook)
        assert tuple(others) == rest


def test_the_hook_works_and_is_of_the_connection_that_is_named(
    service: LocalBloq, keys: IssuedKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    @task(bloq_conn_id="{{ conn }}")
    def nodes(bloq: BloqHook) -> tuple[str, int]:
        return bloq.bloq_conn_id, len(bloq.nodes.list())

    with DAG("named"):
        operator = nodes().operator
    assert "bloq_conn_id" in operator.template_fields
    operator.render_template_fields({"conn": "bloq_default"})
    assert execute(operator) == ("bloq_default", 0)
    assert service.counters().mints == 1


def test_an_async_function_gets_an_open_hook_that_is_closed_afterwards(
    service: LocalBloq, keys: IssuedKeys
) -> None:
    hooks: list[BloqAsyncHook] = []

    @task()
    async def nodes(bloq: BloqAsyncHook, state: str) -> tuple[int, list[int], str]:
        hooks.append(bloq)
        return len(await bloq.nodes.list()), leases(), state

    called = nodes("started")
    assert called.operator.is_async
    assert result_of(called) == (0, [1], "started")
    assert leases() == [0]
    assert not hooks[0]._driver.is_open


def test_it_is_closed_when_the_function_fails_as_well(keys: IssuedKeys) -> None:
    @task()
    async def failing(bloq: BloqAsyncHook) -> None:
        raise LookupError("the author's own")

    with pytest.raises(LookupError, match="the author's own"):
        result_of(failing())
    assert leases() == [0]


def test_errors_of_bloq_are_what_the_hook_raises(service: LocalBloq, keys: IssuedKeys) -> None:
    @task()
    def missing(bloq: BloqHook) -> Any:
        return bloq.nodes.get("node-0")

    @task()
    async def missing_too(bloq: BloqAsyncHook) -> Any:
        return await bloq.nodes.get("node-0")

    for function in (missing, missing_too):
        with pytest.raises(BloqNotFound):
            result_of(function())
    service.delete_client_keys(keys.client_id)
    shared_providers.forget()
    for function in (missing, missing_too):
        with pytest.raises(BloqClientKeysRejected) as refused:
            result_of(function())
        assert isinstance(refused.value, AirflowFailException)


def test_parameters_of_the_context_are_filled_in(keys: IssuedKeys) -> None:
    @task()
    def told(bloq: BloqHook, factor: int, run_id: Any = None, **context: Any) -> tuple[Any, ...]:
        return factor, run_id, context["ds"]

    @task()
    async def told_too(bloq: BloqAsyncHook, factor: int, run_id: Any = None) -> tuple[Any, ...]:
        return factor, run_id

    assert result_of(told(3), run_id="r", ds="2026-01-01") == (3, "r", "2026-01-01")
    assert result_of(told_too(factor=3), run_id="r", ds="2026-01-01") == (3, "r")


def test_a_generator_yields_metadata_of_assets_as_with_any_task(keys: IssuedKeys) -> None:
    asset = Asset("blocks")

    @task(outlets=[asset])
    def describing(bloq: BloqHook) -> Any:
        yield Metadata(asset, {"conn": bloq.bloq_conn_id})
        return "done"

    class Events(dict[Any, Any]):
        """What a task tells of its outlets."""

    class Event:
        extra: dict[str, Any] = {}  # noqa: RUF012

    called = describing()
    assert result_of(called, outlet_events=Events({asset: Event})) == "done"
    assert Event.extra == {"conn": "bloq_default"}


def test_expand_partial_override_and_xcoms_work_as_with_any_task(keys: IssuedKeys) -> None:
    with DAG("mapped") as dag:

        @task(retries=2)
        def power(bloq: BloqHook, base: int, exponent: int) -> int:
            assert bloq.bloq_conn_id
            return int(base**exponent)

        mapped = power.partial(exponent=3).expand(base=[1, 2])
        by_rows = power.override(task_id="by_rows").expand_kwargs([{"base": 3, "exponent": 2}])
        power.override(task_id="next")(base=by_rows, exponent=1)
    unmapped = mapped.operator.unmap({"op_kwargs": {"base": 2}})
    assert (execute(unmapped), unmapped.retries) == (8, 2)
    assert execute(by_rows.operator.unmap({"op_kwargs": {"base": 3, "exponent": 2}})) == 9
    assert dag.get_task("next").upstream_task_ids == {"by_rows"}
    written = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert {each.task_id: each.has_retry_policy for each in written.tasks} == {
        "power": False,
        "by_rows": False,
        "next": True,
    }
    # The flag of a mapped task is only for show: the policy is there when it runs.
    assert unmapped.retry_policy == BloqRetryPolicy()


def test_multiple_outputs_follow_the_annotation_in_the_functions_own_module(keys: IssuedKeys) -> None:
    @task()
    def many(bloq: BloqHook) -> Mapping[str, int]:
        return {"a": 1}

    @task()
    def one(bloq: BloqHook) -> int:
        return 1

    @task(multiple_outputs=False)
    def told(bloq: BloqHook) -> dict[str, int]:
        return {"a": 1}

    outputs = [function().operator.multiple_outputs for function in (many, one, told)]
    assert outputs == [True, False, False]


def test_the_decorated_function_is_left_as_it_was() -> None:
    def own(bloq: BloqHook, a: int) -> int:
        """Its docstring."""
        return a

    decorated: Any = bloq_task(own)
    assert decorated.function is not own
    assert own(BloqHook(), 1) == 1
    assert not hasattr(own, "__signature__")
    operator = decorated(1).operator
    assert (operator.task_id, operator.doc_md) == ("own", "Its docstring.")
    assert "def own(bloq: BloqHook, a: int)" in operator.get_python_source()


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator of the author's own."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return ["logged", function(*args, **kwargs)]

    return wrapper


def test_other_decorators_may_stand_below(keys: IssuedKeys) -> None:
    @task()
    @logged
    def conn_id(bloq: BloqHook, suffix: str) -> str:
        return bloq.bloq_conn_id + suffix

    assert result_of(conn_id("!")) == ["logged", "bloq_default!"]


def no_parameter(node: str) -> None: ...
def other_kinds(*bloq: str, **others: str) -> None: ...
def anything(**bloq: str) -> None: ...


@pytest.mark.parametrize("function", [no_parameter, other_kinds, anything])
def test_a_function_without_the_parameter_is_refused_when_the_dag_is_parsed(function: Any) -> None:
    with pytest.raises(BloqConfigurationError, match=rf"def {function.__name__}\(bloq, \.\.\.\)") as wrong:
        bloq_task(function)
    assert wrong.value.fields == ("bloq",)


@pytest.mark.parametrize("thing", [print, BloqHook, functools.partial(no_parameter, node="n")])
def test_what_is_no_function_is_refused(thing: Any) -> None:
    with pytest.raises(BloqConfigurationError, match="Decorate a function"):
        bloq_task(thing)


def test_arguments_are_checked_when_the_dag_is_parsed() -> None:
    @task()
    def strict(bloq: BloqHook, a: int) -> None: ...

    @task()
    def loose(bloq: BloqHook, **others: int) -> None: ...

    for arguments, named in (((), {}), ((1, 2), {}), ((1,), {"bloq": 2}), ((), {"b": 1})):
        with pytest.raises(TypeError, match="argument"):
            strict(*arguments, **named)
    with pytest.raises(TypeError, match="bloq"):
        strict.expand(bloq=[1])
    with pytest.raises(BloqConfigurationError, match="Leave it out") as given:
        loose(bloq=1)
    assert given.value.fields == ("bloq",)


def test_the_policy_is_that_of_the_operators_unless_told_otherwise() -> None:
    @task()
    def usual(bloq: BloqHook) -> None: ...

    @task(retry_policy=None)
    def without(bloq: BloqHook) -> None: ...

    assert usual().operator.retry_policy == BloqRetryPolicy()
    assert without().operator.retry_policy is None


def leases() -> list[int]:
    """Return how many hooks hold each of the shared token providers."""
    return [entry.leases for entry in shared_providers._entries.values()]


#: Makes the installed Airflow look like one without async tasks.
AN_OLDER_CORE = """
from airflow.providers.standard.operators.python import PythonOperator
del PythonOperator.aexecute_callable
from airflow_provider_bloq.decorators.bloq import bloq_task
from airflow_provider_bloq.exceptions import BloqConfigurationError
@bloq_task
def plain(bloq): return 1
@bloq_task
async def fine(bloq): return 1
plain()
try:
    fine()
except BloqConfigurationError as wrong:
    print(wrong)
"""


def test_without_async_tasks_in_the_core_an_async_function_is_refused_when_the_dag_is_parsed() -> None:
    done = subprocess.run([sys.executable, "-c", AN_OLDER_CORE], capture_output=True, text=True, check=False)
    assert "which this Airflow does not support" in done.stdout, done.stderr
