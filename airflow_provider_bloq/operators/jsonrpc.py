"""Operators for the JSON-RPC of nodes, clusters and Connect: one call, a batch, or thousands of calls."""

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
from airflow_provider_bloq.operators._results import BloqStoringOperator, Filter, check_filter, load_filter

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
    """An operator that calls the JSON-RPC of one node, cluster or URL.

    Also takes the arguments of :class:`~airflow_provider_bloq.operators._results.BloqStoringOperator`.

    :param node: The result of ``BloqCreateNodeOperator``, the id of a node or cluster, ``connect:<chain>`` for the
        JSON-RPC of a chain in Connect, or a URL. A URL gets the access token only if it is one of the connection's
        ``rpc_origins``.
    :param tls_fingerprint: SHA-256 fingerprint of the node's certificate, needed if ``node`` is only an id that is
        not in the connection's ``node_fingerprints``.
    :param port: The port, if it is not the chain's default.
    :param path: The path, if it is not the chain's default.
    :param idempotent: Whether calls may be repeated if the response is lost. By default only methods that are known
        to be read-only.
    :param response_filter: Filter for the result of each call: a JMESPath expression, or a function of one argument
        as ``package.module:function``.
    """

    template_fields: Sequence[str] = (
        *BloqStoringOperator.template_fields,
        "node",
        "tls_fingerprint",
        "port",
        "path",
    )
    #: The methods called, once the task has run.
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
        from airflow_provider_bloq.arguments import untemplated

        port = untemplated(self.port)
        return {"tls_fingerprint": self.tls_fingerprint, "port": port, "path": self.path}

    def _filter(self) -> Filter:
        return load_filter(self.response_filter, self.task_id)

    def _record_methods(self, calls: Sequence[RpcCall]) -> None:
        from airflow_provider_bloq.operators._lineage import distinct

        self.called_methods = distinct(call.method for call in calls)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:
        """Return what was called and written. OpenLineage's provider calls this."""
        from airflow_provider_bloq.operators._lineage import node_dataset, operator_lineage

        return operator_lineage(
            inputs=[node_dataset(self.node)], outputs=[self.stored_result], operations=self.called_methods
        )


def error_json(error: BloqRpcError) -> dict[str, Any]:
    """Return the error that a node returned for a call, as JSON."""
    return {"code": error.code, "message": error.message, "data": error.data, "method": error.method}


class _ListParamsMeta(BaseOperatorMeta):
    """Metaclass that takes ``params`` for the parameters of the call if it is a list; Airflow's own is a dict.

    The constructor cannot do this, since Airflow removes ``params`` before it is called.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - the method of a metaclass
        if isinstance(kwargs.get("params"), list | tuple):
            if "rpc_params" in kwargs:
                raise BloqConfigurationError.of(
                    "params", "rpc_params is given as well", "Give one of the two.", kwargs.get("task_id")
                )
            kwargs["rpc_params"] = kwargs.pop("params")
        return super().__call__(*args, **kwargs)


class BloqJsonRpcOperator(BloqRpcOperator, metaclass=_ListParamsMeta):
    """Make one JSON-RPC call to a node or cluster, or a batch of calls.

    Returns the result of the call; for a batch, the list of results in the order of the calls. For thousands of calls
    see :class:`~airflow_provider_bloq.operators.jsonrpc.BloqFanOutOperator`.

    :param node: The result of ``BloqCreateNodeOperator``, the id of a node or cluster, ``connect:<chain>`` for the
        JSON-RPC of a chain in Connect, or a URL. A URL gets the access token only if it is one of the connection's
        ``rpc_origins``.
    :param method: Method, such as ``eth_blockNumber``.
    :param rpc_params: Its parameters: a list, or a dict by name. A list can also be given as ``params``, except to
        ``partial`` and ``expand``; a dict by that name is Airflow's own ``params``.
    :param batch: Several calls instead of one method: each a method, ``[method, params]``, or a dict of the two.
    :param raise_on_rpc_error: Whether the task fails if the node returns an error for a call. Otherwise the result is
        ``{"error": {"code": …, "message": …, "data": …, "method": …}}``.
    :param idempotent: Whether the calls may be repeated if the response is lost. By default only methods that are
        known to be read-only.
    :param response_filter: Filter for the result of each call, not for errors: a JMESPath expression such as
        ``block.number``, or a function of one argument as ``package.module:function``, with a colon.
    :param result_path: URL of a file on object storage for results larger than ``result_limit``; see
        :class:`~airflow_provider_bloq.operators._results.BloqStoringOperator`, also for the next two.
    :param result_conn_id: Connection of that storage, unless the URL names it.
    :param result_limit: Largest result, in bytes of JSON, that is returned directly (1 MiB).
    :param tls_fingerprint: SHA-256 fingerprint of the node's certificate, needed if ``node`` is only an id that is
        not in the connection's ``node_fingerprints``.
    :param port: The port, if it is not the chain's default.
    :param path: The path, if it is not the chain's default.
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
                "batch is given as well, whose calls have their own parameters",
                'Put them into batch: ["eth_getBalance", ["0x…", "latest"]].',
                self.task_id,
            )
        self.method = method
        self.rpc_params = rpc_params
        self.batch = batch
        self.raise_on_rpc_error = raise_on_rpc_error

    def execute(self, context: Any) -> Any:
        """Make the call or calls.

        :raises BloqRpcError: The node returned an error.
        :raises BloqResultTooLarge: The result exceeds ``result_limit``, and there is no ``result_path``.
        """
        with raise_as_fail_exception():
            # Errors in the arguments are raised before the node is called.
            destination = self._destination(context)
            pick = self._filter()
            return self._returned(self._called(pick), destination)

    def _called(self, pick: Filter) -> Any:
        from airflow_provider_bloq.rpc.client import RpcCall

        single = {"method": self.method, "params": self.rpc_params or ()}
        calls = [single] if self.batch is None else self.batch
        rpc = self.hook.rpc(self.node, **self._rpc_options)
        outcomes = rpc.batch(calls, return_errors=True, idempotent=self.idempotent)
        self._record_methods([RpcCall.of(call) for call in calls])
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
    report: Callable[[int, int], None],
) -> list[Any]:
    """Make the calls, and return their filtered results or errors in the order of the calls.

    :param batch_size: Most calls in one request.
    :param concurrency: Most requests at a time.
    :param idempotent: Whether calls may be repeated if the response is lost; None to decide by their methods.
    :param pick: The filter for each result.
    :param report: Called about ten times with the number of calls done and in total.
    :raises Exception: A request or ``pick`` failed. Nothing more is sent then.
    """
    outcomes: list[Any] = [None] * len(calls)
    starts = iter(range(0, len(calls), batch_size))
    progress = _Progress(len(calls), report)

    async def work() -> None:
        for start in starts:
            batch = calls[start : start + batch_size]
            answers = await rpc.batch(batch, limit=batch_size, return_errors=True, idempotent=idempotent)
            outcomes[start : start + len(batch)] = [_filtered(answer, pick) for answer in answers]
            progress.add(len(batch))

    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(concurrency, -(-len(calls) // batch_size))):
                workers.create_task(work())
    except BaseExceptionGroup as failed:
        # The error that cancelled the others. Airflow decides on a retry by its class.
        raise failed.exceptions[0] from None
    return outcomes


def _filtered(answer: Any, pick: Callable[[Any], Any]) -> Any:
    return answer if isinstance(answer, BloqRpcError) else pick(answer)


class _Progress:
    """Reports each tenth of the calls."""

    def __init__(self, total: int, report: Callable[[int, int], None]) -> None:
        self._total = total
        self._report = report
        self._done = 0

    def add(self, calls: int) -> None:
        tenths_before = self._done * 10 // self._total
        self._done += calls
        if self._done * 10 // self._total > tenths_before:
            self._report(self._done, self._total)


class BloqFanOutOperator(BloqRpcOperator, BaseAsyncOperator):
    """Call a node or cluster many times in one task, such as for the balances of 5,000 addresses.

    The calls are sent in batches, several at a time, with one access token that is renewed while they run.

    An error that the node returns for one call concerns that call alone, see ``on_error``. If the node cannot be
    reached or rejects the credentials, the task fails, and another try makes all calls again.

    Returns the list of results in the order of the calls or, if ``on_error`` is ``list``::

        {"results": [<result, or null for a call that failed>, ...],
         "errors": [{"index": <position of the call, from 0>,
                     "code": ..., "message": ..., "data": ..., "method": ...}, ...]}

    Runs on the worker, not in the triggerer, on any Airflow from 3.1.

    :param method: Method of all calls, such as ``eth_getBalance``.
    :param params_list: The parameters of each call: a list of lists, or of dicts by name.
    :param calls: The calls, instead of ``method`` and ``params_list``: each a method, ``[method, params]``, or a dict
        of the two.
    :param batch_size: Calls in one request. Reduced if the node does not accept that many.
    :param concurrency: Requests at a time.
    :param on_error: What to do if the node returns errors for calls: ``raise`` fails the task after all calls are
        made, with the number of errors and the first of them; ``list`` returns them with the results.
    :param node: The result of ``BloqCreateNodeOperator``, the id of a node or cluster, ``connect:<chain>`` for the
        JSON-RPC of a chain in Connect, or a URL. A URL gets the access token only if it is one of the connection's
        ``rpc_origins``.
    :param idempotent: Whether the calls may be repeated if the response is lost. By default only methods that are
        known to be read-only.
    :param response_filter: Filter for the result of each call: a JMESPath expression such as ``block.number``, or a
        function of one argument as ``package.module:function``, with a colon.
    :param result_path: URL of a file on object storage for results larger than ``result_limit``; see
        :class:`~airflow_provider_bloq.operators._results.BloqStoringOperator`, also for the next two.
    :param result_conn_id: Connection of that storage, unless the URL names it.
    :param result_limit: Largest result, in bytes of JSON, that is returned directly (1 MiB).
    :param tls_fingerprint: SHA-256 fingerprint of the node's certificate, needed if ``node`` is only an id that is
        not in the connection's ``node_fingerprints``.
    :param port: The port, if it is not the chain's default.
    :param path: The path, if it is not the chain's default.
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
        from airflow_provider_bloq.arguments import require_choice, require_whole_number

        given = [name for name in ("method", "params_list", "calls") if getattr(self, name) is not None]
        if given not in (["calls"], ["method", "params_list"]):
            raise BloqConfigurationError.of(
                "calls",
                f"the arguments given are {' and '.join(given) or 'none'}",
                "Give method and params_list, or calls alone.",
                self.task_id,
            )
        require_whole_number("batch_size", self.batch_size, least=1)
        require_whole_number("concurrency", self.concurrency, least=1)
        require_choice("on_error", self.on_error, ("raise", "list"))

    async def aexecute(self, context: Any) -> Any:
        """Make the calls.

        :raises BloqCallsFailed: The node returned errors, and ``on_error`` is ``raise``.
        :raises BloqResultTooLarge: The result exceeds ``result_limit``, and there is no ``result_path``.
        """
        from airflow_provider_bloq.hooks.bloq_async import BloqAsyncHook

        warn_without_retry_policies(self.retries)
        with raise_as_fail_exception():
            # Errors in the arguments are raised before the node is called. In a thread, since reading connections
            # and the results of other tasks blocks.
            calls, pick, destination = await asyncio.to_thread(self._prepared, context)
            self._record_methods(calls)
            async with BloqAsyncHook(self.bloq_conn_id) as hook:
                rpc = hook.rpc(self.node, **self._rpc_options)
                # Once, rather than in each of the first requests.
                await hook.run(rpc.resolver.resolve())
                outcomes = await outcomes_of_all(
                    rpc,
                    calls,
                    batch_size=self.batch_size,
                    concurrency=self.concurrency,
                    idempotent=self.idempotent,
                    pick=pick,
                    report=partial(self.log.info, "%d of %d calls are done"),
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
        # Jinja renders a list as a string unless the DAG renders templates as native objects.
        raise BloqConfigurationError.of(
            name,
            f"it is a {type(value).__name__}, not a list",
            "Pass the output of the task (addresses.output), or a list.",
            where,
        )
    return value
