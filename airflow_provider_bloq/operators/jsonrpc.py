"""What the operators have in common that call the JSON-RPC of a node or cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.bases.operator import BaseOperatorMeta

from airflow_provider_bloq.exceptions import BloqCallsFailed, BloqConfigurationError, BloqRpcError
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.hooks.retries import warn_without_retry_policies
from airflow_provider_bloq.operators._base import BaseAsyncOperator
from airflow_provider_bloq.operators._lineage import distinct, node_dataset, operator_lineage
from airflow_provider_bloq.operators._results import (
    BloqStoringOperator,
    Filter,
    check_filter,
    load_filter,
)

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    from airflow_provider_bloq.rpc.client import AsyncRpcClient, RpcCall

__all__ = [
    "BloqFanOutOperator",
    "BloqJsonRpcOperator",
    "BloqRpcOperator",
    "error_json",
    "outcomes_of_all",
]


class BloqRpcOperator(BloqStoringOperator):
    """An operator that calls one node, cluster or URL, and returns what it answers.

    The arguments of :class:`~airflow_provider_bloq.operators._results.BloqStoringOperator` are taken as well.

    :param node: What ``BloqCreateNodeOperator`` returned, the id of a node or cluster, ``connect:<chain>`` for
        the JSON-RPC that Connect has for a chain, or a URL. A URL is shown the access token only if it is one
        of the connection's ``rpc_origins``.
    :param tls_fingerprint: SHA-256 fingerprint of the node's certificate, where ``node`` is only its id
        and the connection's ``node_fingerprints`` do not have it.
    :param port: The port, where it is not the usual one of the chain.
    :param path: The path, likewise.
    :param idempotent: Whether calls may be sent again where an answer was lost. None: those may whose methods are
        known to do nothing but read.
    :param response_filter: What is taken of the result of each call: a JMESPath expression, or a function
        of one argument as ``package.module:function``.
    """

    template_fields: Sequence[str] = (
        *BloqStoringOperator.template_fields,
        "node",
        "tls_fingerprint",
        "port",
        "path",
    )
    #: The methods that were called, once the task has run.
    called_methods: tuple[str, ...] = ()

    def __init__(
        self,
        *,
        node: str | Mapping[str, Any],
        tls_fingerprint: str | None = None,
        port: int | str | None = None,
        path: str | None = None,
        idempotent: bool | None = None,
        response_filter: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.node = node
        self.tls_fingerprint = tls_fingerprint
        self.port = port
        self.path = path
        self.idempotent = idempotent
        self.response_filter = response_filter
        self._check_options()

    def _check_options(self) -> None:
        check_filter(self.response_filter, self.task_id)

    @property
    def _rpc_options(self) -> dict[str, Any]:
        from airflow_provider_bloq.validation import untemplated

        port = untemplated(self.port)
        return {"tls_fingerprint": self.tls_fingerprint, "port": port, "path": self.path}

    def _filter(self) -> Filter:
        return load_filter(self.response_filter, self.task_id)

    def _note_methods(self, calls: Sequence[RpcCall]) -> None:
        self.called_methods = distinct(call.method for call in calls)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Tell OpenLineage's provider what was called and written; it asks for this by this name."""
        return operator_lineage(
            inputs=[node_dataset(self.node)], outputs=[self.stored_result], operations=self.called_methods
        )


def error_json(error: BloqRpcError) -> dict[str, Any]:
    """Return what a node answered in place of a result as JSON."""
    return {"code": error.code, "message": error.message, "data": error.data, "method": error.method}


class _TakesParams(BaseOperatorMeta):
    """Takes ``params`` for those of the call where it is a list, as nothing of Airflow's can be.

    Not for the constructor to do: Airflow takes every ``params`` away before that is called.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - the method of a metaclass
        if isinstance(kwargs.get("params"), list | tuple):
            if "rpc_params" in kwargs:
                raise BloqConfigurationError.of(
                    "params", "rpc_params is given as well", "Give one of the two.", kwargs.get("task_id")
                )
            kwargs["rpc_params"] = kwargs.pop("params")
        return super().__call__(*args, **kwargs)


class BloqJsonRpcOperator(BloqRpcOperator, metaclass=_TakesParams):
    """Call a node or cluster by JSON-RPC, once or with a batch of calls.

    Returns the result of the call; for a batch the list of results in the order of the calls. For thousands
    of calls see :class:`~airflow_provider_bloq.operators.jsonrpc.BloqFanOutOperator`.

    :param node: What ``BloqCreateNodeOperator`` returned, the id of a node or cluster, ``connect:<chain>`` for
        the JSON-RPC that Connect has for a chain, or a URL. A URL is shown the access token only if it is one
        of the connection's ``rpc_origins``.
    :param method: Method, such as ``eth_blockNumber``.
    :param rpc_params: Its parameters: a list, or a dict by name. A list can be given as ``params`` as well,
        but not to ``partial`` and ``expand``; a dict under that name is Airflow's own ``params``.
    :param batch: Instead of one method many calls: each a method, or ``[method, params]``, or a dict of
        the two.
    :param raise_on_rpc_error: Whether the task fails where the node answers a call with an error. If not,
        ``{"error": {"code": …, "message": …, "data": …, "method": …}}`` stands in the place of the result.
    :param idempotent: Whether the calls may be sent again where an answer was lost. None: those may whose methods
        are known to do nothing but read.
    :param response_filter: What is taken of the result of each call, but not of an error: a JMESPath
        expression such as ``block.number``, or a function of one argument as ``package.module:function``
        (a colon before the function's name, which tells it from JMESPath).
    :param result_path: URL of the file on object storage that a result over ``result_limit`` goes to; its
        path is returned then, as text that ``ObjectStoragePath`` takes. Where it ends in ``/`` the file in
        that folder is named by DAG, run, task and map index. Another try of the task replaces the file.
    :param result_conn_id: Connection of that storage, where it does not stand in the URL.
    :param result_limit: The most bytes of JSON that are returned as they are. 0: all go to
        ``result_path``. None: none do.
    :param tls_fingerprint: SHA-256 fingerprint of the node's certificate, where ``node`` is only its id
        and the connection's ``node_fingerprints`` do not have it.
    :param port: The port, where it is not the usual one of the chain.
    :param path: The path, likewise.
    :param bloq_conn_id: Id of the connection.
    """

    template_fields: Sequence[str] = (*BloqRpcOperator.template_fields, "method", "rpc_params", "batch")
    template_fields_renderers: ClassVar[dict[str, str]] = {"rpc_params": "json", "batch": "json"}

    def __init__(
        self,
        *,
        method: str | None = None,
        rpc_params: Sequence[Any] | dict[str, Any] | None = None,
        batch: Sequence[Any] | None = None,
        raise_on_rpc_error: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if (method is None) == (batch is None):
            raise BloqConfigurationError.of(
                "method", "neither it nor batch is given, or both are", "Give one of the two.", self.task_id
            )
        if batch is not None and rpc_params is not None:
            raise BloqConfigurationError.of(
                "rpc_params",
                "batch is given, whose calls have parameters of their own",
                'Write them into it: ["eth_getBalance", ["0x…", "latest"]].',
                self.task_id,
            )
        self.method = method
        self.rpc_params = rpc_params
        self.batch = batch
        self.raise_on_rpc_error = raise_on_rpc_error

    def execute(self, context: Any) -> Any:
        """Make the call or calls.

        :return: The result, or the list of results, or the path of the file that has it.
        :raises BloqRpcError: The node answered a call with an error.
        :raises BloqResultTooLarge: The result is over its limit, and there is no ``result_path``.
        """
        with raise_as_fail_exception():
            # All that can be wrong with what the task was given shows before the node is called.
            destination = self._destination(context)
            pick = self._filter()
            return self._returned(self._called(pick), destination)

    def _called(self, pick: Filter) -> Any:
        from airflow_provider_bloq.rpc.client import RpcCall

        single = {"method": self.method, "params": self.rpc_params or ()}
        calls = [single] if self.batch is None else self.batch
        rpc = self.hook.rpc(self.node, **self._rpc_options)
        outcomes = rpc.batch(calls, return_errors=True, idempotent=self.idempotent)
        self._note_methods([RpcCall.of(call) for call in calls])
        results = [self._result(outcome, pick) for outcome in outcomes]
        return results[0] if self.batch is None else results

    def _result(self, outcome: Any, pick: Filter) -> Any:
        if not isinstance(outcome, BloqRpcError):
            return pick(outcome)
        if self.raise_on_rpc_error:
            raise outcome
        return {"error": error_json(outcome)}


async def outcomes_of_all(
    rpc: AsyncRpcClient,
    calls: Sequence[RpcCall],
    *,
    batch_size: int,
    concurrency: int,
    idempotent: bool | None,
    pick: Callable[[Any], Any],
    tell: Callable[[int, int], None],
) -> list[Any]:
    """Make the calls.

    :param rpc: Whom to call.
    :param calls: The calls.
    :param batch_size: Calls in one request, at most.
    :param concurrency: Requests under way at a time, at most.
    :param idempotent: Whether they may be sent again where an answer was lost; None if their methods tell.
    :param pick: What is taken of each result.
    :param tell: Is told how many calls are done, and of how many, about ten times.
    :return: For each call, in its place, what was taken of its result, or the error that it got.
    :raises Exception: A request failed as a whole, or ``pick`` did. Nothing more is sent then.
    """
    outcomes: list[Any] = [None] * len(calls)
    starts = iter(range(0, len(calls), batch_size))
    progress = _Progress(len(calls), tell)

    async def work() -> None:
        for start in starts:
            batch = calls[start : start + batch_size]
            answers = await rpc.batch(batch, limit=batch_size, return_errors=True, idempotent=idempotent)
            outcomes[start : start + len(batch)] = [_picked(answer, pick) for answer in answers]
            progress.add(len(batch))

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(concurrency, -(-len(calls) // batch_size))):
                workers.create_task(work())
    except BaseExceptionGroup as failed:
        # What made the others be cancelled. Airflow decides on a retry by its class.
        raise failed.exceptions[0] from None
    return outcomes


def _picked(answer: Any, pick: Callable[[Any], Any]) -> Any:
    return answer if isinstance(answer, BloqRpcError) else pick(answer)


class _Progress:
    """Tells of each tenth that is done."""

    def __init__(self, total: int, tell: Callable[[int, int], None]) -> None:
        self._total = total
        self._tell = tell
        self._done = 0

    def add(self, calls: int) -> None:
        tenths_before = self._done * 10 // self._total
        self._done += calls
        if self._done * 10 // self._total > tenths_before:
            self._tell(self._done, self._total)


class BloqFanOutOperator(BloqRpcOperator, BaseAsyncOperator):
    """Call a node or cluster many times in one task, such as for the balances of 5,000 addresses.

    The calls go out in batches, several at a time, by one connection and one access token that is renewed
    while they run. Results stand in the order of the calls, whatever order they came in.

    What a node answers to one call in place of a result is an error of that call alone; ``on_error`` says
    what becomes of it. A node that cannot be reached, or refuses the caller, fails the task: another try
    makes all calls again.

    Returns, where ``on_error`` is ``raise``, the list of results. Where it is ``list``::

        {"results": [<result, or null for a call that failed>, ...],
         "errors": [{"index": <position of the call, from 0>,
                     "code": ..., "message": ..., "data": ..., "method": ...}, ...]}

    It runs on the worker, not in the triggerer, on any Airflow from 3.1.

    :param method: Method of all calls, such as ``eth_getBalance``.
    :param params_list: The parameters of each call: a list of lists, or of dicts by name.
    :param calls: Instead of both: the calls, each a method, or ``[method, params]``, or a dict of the two.
    :param batch_size: Calls in one request. Where a node refuses so many it is asked with fewer.
    :param concurrency: Requests under way at a time.
    :param on_error: What to do where the node answers calls with errors: ``raise`` fails the task once all
        calls are made, naming how many failed and the first of them; ``list`` returns them with the results.
    :param node: What ``BloqCreateNodeOperator`` returned, the id of a node or cluster, ``connect:<chain>`` for
        the JSON-RPC that Connect has for a chain, or a URL. A URL is shown the access token only if it is one
        of the connection's ``rpc_origins``.
    :param idempotent: Whether the calls may be sent again where an answer was lost. None: those may whose methods
        are known to do nothing but read.
    :param response_filter: What is taken of the result of each call: a JMESPath expression such as
        ``block.number``, or a function of one argument as ``package.module:function`` (a colon before the
        function's name, which tells it from JMESPath).
    :param result_path: URL of the file on object storage that a result over ``result_limit`` goes to; its
        path is returned then, as text that ``ObjectStoragePath`` takes. Where it ends in ``/`` the file in
        that folder is named by DAG, run, task and map index. Another try of the task replaces the file.
    :param result_conn_id: Connection of that storage, where it does not stand in the URL.
    :param result_limit: The most bytes of JSON that are returned as they are. 0: all go to
        ``result_path``. None: none do.
    :param tls_fingerprint: SHA-256 fingerprint of the node's certificate, where ``node`` is only its id
        and the connection's ``node_fingerprints`` do not have it.
    :param port: The port, where it is not the usual one of the chain.
    :param path: The path, likewise.
    :param bloq_conn_id: Id of the connection.
    """

    template_fields: Sequence[str] = (*BloqRpcOperator.template_fields, "method", "params_list", "calls")
    template_fields_renderers: ClassVar[dict[str, str]] = {"params_list": "json", "calls": "json"}

    def __init__(
        self,
        *,
        method: str | None = None,
        params_list: Iterable[Any] | None = None,
        calls: Iterable[Any] | None = None,
        batch_size: int = 50,
        concurrency: int = 4,
        on_error: str = "raise",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.method = method
        self.params_list = params_list
        self.calls = calls
        self.batch_size = batch_size
        self.concurrency = concurrency
        self.on_error = on_error
        self._check_fan_out()

    def _check_fan_out(self) -> None:
        from airflow_provider_bloq.validation import require_choice, require_whole_number

        given = [name for name in ("method", "params_list", "calls") if getattr(self, name) is not None]
        if given not in (["calls"], ["method", "params_list"]):
            raise BloqConfigurationError.of(
                "calls",
                f"what is given is {' and '.join(given) or 'nothing'}",
                "Give method and params_list, or calls alone.",
                self.task_id,
            )
        require_whole_number("batch_size", self.batch_size, least=1)
        require_whole_number("concurrency", self.concurrency, least=1)
        require_choice("on_error", self.on_error, ("raise", "list"))

    async def aexecute(self, context: Any) -> Any:
        """Make the calls.

        :return: The results, see above, or the path of the file that has them.
        :raises BloqCallsFailed: The node answered calls with errors, and ``on_error`` is ``raise``.
        :raises BloqResultTooLarge: The result is over its limit, and there is no ``result_path``.
        """
        from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook

        warn_without_retry_policies(self.retries)
        with raise_as_fail_exception():
            # All that can be wrong with what the task was given shows before the node is called. In a
            # thread, since calls that come from other tasks, and connections, are read by what blocks.
            calls, pick, destination = await asyncio.to_thread(self._prepared, context)
            self._note_methods(calls)
            async with BloqAsyncHook(self.bloq_conn_id) as hook:
                rpc = hook.rpc(self.node, **self._rpc_options)
                # Once, rather than by each of the requests that go out first.
                await hook.run(rpc.resolver.resolve())
                outcomes = await outcomes_of_all(
                    rpc,
                    calls,
                    batch_size=self.batch_size,
                    concurrency=self.concurrency,
                    idempotent=self.idempotent,
                    pick=pick,
                    tell=partial(self.log.info, "%d of %d calls are done"),
                )
            return await asyncio.to_thread(self._returned, self._result(outcomes), destination)

    def _prepared(self, context: Any) -> tuple[list[RpcCall], Filter, ObjectStoragePath | None]:
        return self._all_calls(), self._filter(), self._destination(context)

    def _all_calls(self) -> list[RpcCall]:
        from airflow_provider_bloq.rpc.client import RpcCall

        if self.calls is not None:
            return [RpcCall.of(call) for call in _listed("calls", self.calls, self.task_id)]
        params_list = _listed("params_list", self.params_list, self.task_id)
        return [RpcCall(self.method or "", params) for params in params_list]

    def _result(self, outcomes: list[Any]) -> Any:
        failures = [(index, each) for index, each in enumerate(outcomes) if isinstance(each, BloqRpcError)]
        if failures:
            self.log.warning("%d of %d calls failed", len(failures), len(outcomes))
        if self.on_error == "list":
            return {
                "results": [None if isinstance(each, BloqRpcError) else each for each in outcomes],
                "errors": [{"index": index, **error_json(error)} for index, error in failures],
            }
        if failures:
            raise BloqCallsFailed(failures, len(outcomes))
        return outcomes


def _listed(name: str, value: Any, where: str) -> Iterable[Any]:
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        # A str is what Jinja makes of a list unless the DAG renders templates as native objects.
        raise BloqConfigurationError.of(
            name,
            f"it is a {type(value).__name__}, not a list",
            "Hand on the output of the task itself (addresses.output), or a list.",
            where,
        )
    return value
