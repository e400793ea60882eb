"""Operator for the JSON-RPC of a node or cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.bases.operator import BaseOperatorMeta

from airflow_provider_bloq.exceptions import BloqConfigurationError, BloqRpcError
from airflow_provider_bloq.hooks.failures import failing_at_once
from airflow_provider_bloq.operators.rpc import BloqRpcOperator, error_json

if TYPE_CHECKING:
    from airflow_provider_bloq.operators.response_filter import Filter

__all__ = ["BloqJsonRpcOperator"]


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
    of calls see :class:`~airflow_provider_bloq.operators.fan_out.BloqFanOutOperator`.

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
    :param repeatable: Whether the calls may be sent again where an answer was lost. None: those may whose methods
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
        with failing_at_once():
            # All that can be wrong with what the task was given shows before the node is called.
            destination = self._destination(context)
            pick = self._filter()
            return self._returned(self._called(pick), destination)

    def _called(self, pick: Filter) -> Any:
        from airflow_provider_bloq.clients.jsonrpc import RpcCall

        single = {"method": self.method, "params": self.rpc_params or ()}
        calls = [single] if self.batch is None else self.batch
        rpc = self.hook.rpc(self.node, **self._rpc_options)
        outcomes = rpc.batch(calls, return_errors=True, repeatable=self.repeatable)
        self._note_methods([RpcCall.of(call) for call in calls])
        results = [self._result(outcome, pick) for outcome in outcomes]
        return results[0] if self.batch is None else results

    def _result(self, outcome: Any, pick: Filter) -> Any:
        if not isinstance(outcome, BloqRpcError):
            return pick(outcome)
        if self.raise_on_rpc_error:
            raise outcome
        return {"error": error_json(outcome)}
