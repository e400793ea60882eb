"""Operator for many calls of one node or cluster in one task."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_bloq.exceptions import BloqCallsFailed, BloqConfigurationError, BloqRpcError
from airflow_provider_bloq.hooks.failures import failing_at_once
from airflow_provider_bloq.hooks.retry_policy import tell_if_missing
from airflow_provider_bloq.operators.async_base import BaseAsyncOperator
from airflow_provider_bloq.operators.rpc import BloqRpcOperator, error_json

if TYPE_CHECKING:
    from airflow.sdk import ObjectStoragePath

    from airflow_provider_bloq.clients.jsonrpc import RpcCall
    from airflow_provider_bloq.operators.response_filter import Filter

__all__ = ["BloqFanOutOperator"]


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
    :param repeatable: Whether the calls may be sent again where an answer was lost. None: those may whose methods
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
        from airflow_provider_bloq.clients.limits import require_choice, require_whole_number

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
        from airflow_provider_bloq.operators.many_calls import outcomes_of_all

        tell_if_missing(self.retries)
        with failing_at_once():
            # All that can be wrong with what the task was given shows before the node is called. In a
            # thread, since calls that come from other tasks, and connections, are read by what blocks.
            calls, pick, destination = await asyncio.to_thread(self._prepared, context)
            self._note_methods(calls)
            async with BloqAsyncHook(self.bloq_conn_id) as hook:
                rpc = hook.rpc(self.node, **self._rpc_options)
                # Once, rather than by each of the requests that go out first.
                await hook.run(rpc.locator.locate())
                outcomes = await outcomes_of_all(
                    rpc,
                    calls,
                    batch_size=self.batch_size,
                    concurrency=self.concurrency,
                    repeatable=self.repeatable,
                    pick=pick,
                    tell=partial(self.log.info, "%d of %d calls are done"),
                )
            return await asyncio.to_thread(self._returned, self._result(outcomes), destination)

    def _prepared(self, context: Any) -> tuple[list[RpcCall], Filter, ObjectStoragePath | None]:
        return self._all_calls(), self._filter(), self._destination(context)

    def _all_calls(self) -> list[RpcCall]:
        from airflow_provider_bloq.clients.jsonrpc import RpcCall

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
