"""``@task.bloq``: runs a function as a task and passes it a hook as its parameter ``bloq``."""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import DecoratedOperator, task_decorator_factory
from airflow.providers.standard.operators.python import PythonOperator

from airflow_provider_bloq.exceptions import BloqConfigurationError
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.retries import DEFAULT_POLICY, policy_argument, warn_without_retry_policies
from airflow_provider_bloq.operators.links import LINKS

if TYPE_CHECKING:
    from airflow.sdk import RetryPolicy
    from airflow.sdk.bases.decorator import TaskDecorator

__all__ = [
    "bloq_task",
]


#: The parameter that receives the hook.
HOOK_PARAMETER = "bloq"

_NAMED = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


class _BloqDecoratedOperator(DecoratedOperator, PythonOperator):
    """Calls a function with a hook; see :func:`bloq_task`.

    :param python_callable: The function, without ``bloq`` in its signature: see :func:`_without_hook`.
    :param op_args: Positional arguments.
    :param op_kwargs: Arguments by name.
    :param bloq_conn_id: Id of the connection.
    :param retry_policy: Which errors are retried, and when; None for none.
    """

    custom_operator_name = "@task.bloq"
    template_fields: Sequence[str] = ("bloq_conn_id", *PythonOperator.template_fields)
    operator_extra_links = LINKS
    ui_color = "#d9e7f5"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        bloq_conn_id: str = BloqHook.default_conn_name,
        retry_policy: RetryPolicy | None = DEFAULT_POLICY,
        **kwargs: Any,
    ) -> None:
        call: dict[str, Any] = {
            "python_callable": python_callable,
            "op_args": op_args,
            "op_kwargs": op_kwargs,
        }
        super().__init__(kwargs_to_upstream=call, **call, **policy_argument(retry_policy), **kwargs)
        self.bloq_conn_id = bloq_conn_id
        if HOOK_PARAMETER in self.op_kwargs:
            raise BloqConfigurationError.of(
                HOOK_PARAMETER, "it is given", "Leave it out: the task passes the hook.", self.task_id
            )
        is_async = inspect.iscoroutinefunction(inspect.unwrap(python_callable))
        if is_async and not hasattr(PythonOperator, "aexecute_callable"):
            raise BloqConfigurationError.of(
                "python_callable",
                "it is async, which this Airflow does not support",
                "Make it a plain function, or use Airflow 3.2.",
                self.task_id,
            )

    def execute_callable(self) -> Any:
        """Call the function with a blocking hook."""
        self._pass_hook(BloqHook(self.bloq_conn_id))
        return super().execute_callable()

    async def aexecute_callable(self) -> Any:
        """Await the function with an async hook, which is open as long as it runs."""
        from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook

        async with BloqAsyncHook(self.bloq_conn_id) as hook:
            self._pass_hook(hook)
            return await super().aexecute_callable()

    def _pass_hook(self, hook: object) -> None:
        warn_without_retry_policies(self.retries)
        given = inspect.signature(self.python_callable).bind(*self.op_args, **self.op_kwargs).arguments
        whole = inspect.signature(vars(self.python_callable)["__wrapped__"])
        call = inspect.BoundArguments(whole, OrderedDict(given, **{HOOK_PARAMETER: hook}))
        self.op_args, self.op_kwargs = call.args, call.kwargs


def bloq_task(
    python_callable: Callable[..., Any] | None = None,
    multiple_outputs: bool | None = None,
    **kwargs: Any,
) -> TaskDecorator:
    """Turn a function into a task that receives a hook::

        @task.bloq
        def balance(bloq, node, address):
            return bloq.rpc(node).call("eth_getBalance", [address, "latest"])

        balance(create.output, "0x…")

    A plain function gets a :class:`~airflow_provider_bloq.hooks.bloq.BloqHook`. An ``async def`` function
    (Airflow 3.2) gets an open :class:`~airflow_provider_bloq.hooks.bloq_async.BloqAsyncHook`, which is closed when
    the function returns. Everything else works as with ``@task``: other arguments, context variables, ``expand``,
    ``partial``, ``override``.

    :param python_callable: The function. One of its parameters is ``bloq``, which callers leave out.
    :param multiple_outputs: Whether the items of the returned dict go into XCom one by one.
    :param kwargs: ``bloq_conn_id``, which is a template field, and the arguments of every operator.
    :raises BloqConfigurationError: The function has no parameter ``bloq``.
    """
    if python_callable is None:
        decorator = functools.partial(bloq_task, multiple_outputs=multiple_outputs, **kwargs)
        return cast("TaskDecorator", decorator)
    return task_decorator_factory(
        python_callable=_without_hook(python_callable),
        multiple_outputs=multiple_outputs,
        decorated_operator_class=_BloqDecoratedOperator,
        **kwargs,
    )


def _without_hook(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function without the hook in its signature, which Airflow checks arguments against.

    It is a copy, not a wrapper: Airflow checks whether it is a coroutine function or a generator, and resolves its
    annotations in its globals.
    """
    if not isinstance(function, FunctionType):
        raise BloqConfigurationError.of(
            "python_callable", f"it is a {type(function).__name__}", "Decorate a function.", "@task.bloq"
        )
    signature = inspect.signature(function)
    hook = signature.parameters.get(HOOK_PARAMETER)
    if hook is None or hook.kind not in _NAMED:
        raise BloqConfigurationError.of(
            HOOK_PARAMETER,
            f"the function {function.__name__} has no such parameter",
            f"Add it: def {function.__name__}({HOOK_PARAMETER}, ...). It receives the hook.",
            "@task.bloq",
        )
    others = [parameter for parameter in signature.parameters.values() if parameter is not hook]
    copy = FunctionType(
        function.__code__, function.__globals__, function.__name__, None, function.__closure__
    )
    copy.__defaults__, copy.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    functools.update_wrapper(copy, function)
    vars(copy)["__signature__"] = signature.replace(parameters=others)
    return copy
