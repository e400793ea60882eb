"""JSON-RPC client: calls and batches, the credentials they carry, and the answers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from airflow_provider_bloq.arguments import require_whole_number
from airflow_provider_bloq.auth.bearer import BearerAuth, resend_refused
from airflow_provider_bloq.exceptions import (
    BloqAuthError,
    BloqConfigurationError,
    BloqError,
    BloqRpcError,
    BloqUnavailable,
)
from airflow_provider_bloq.flow import service
from airflow_provider_bloq.flow.effects import Flow, Request, Response, RunsAsync, RunsBlocking, operation
from airflow_provider_bloq.flow.retry import RetryPolicy, sent_with_retries
from airflow_provider_bloq.flow.service import error_of, json_request, redact_response
from airflow_provider_bloq.rpc.endpoint import EndpointResolver, RpcEndpoint

__all__ = [
    "AsyncRpcClient",
    "RpcApi",
    "RpcCall",
    "RpcClient",
]


#: Calls in one HTTP request. Some nodes refuse more than 100.
BATCH_LIMIT = 50

#: Methods that only read, so that they may be sent again after a lost answer. ``eth_getFilterChanges`` is not among
#: them: it returns each change once.
_READS = re.compile(
    r"(?!eth_getFilterChanges|getnewaddress|getrawchangeaddress)"
    r"(?:eth_(?:get\w+|call|blockNumber|chainId|estimateGas|gasPrice|maxPriorityFeePerGas|feeHistory|syncing|"
    r"accounts|blobBaseFee|protocolVersion|createAccessList)|net_\w+|web3_\w+|trace_\w+|debug_trace\w+|"
    r"txpool_\w+|rpc_modules|info\.\w+|get\w+|decode\w+|estimate\w+|validateaddress|verifychain|uptime|help)"
)
#: Fields of a JSON-RPC request, and so of a call given as a dict.
_REQUEST_FIELDS = frozenset({"method", "params", "id", "jsonrpc"})


@dataclass(frozen=True, slots=True)
class RpcCall:
    """One JSON-RPC call.

    :param method: Method, such as ``eth_getBalance``.
    :param params: Parameters: a list, or a dict of named ones if the node accepts them.
    """

    method: str
    params: Sequence[Any] | dict[str, Any] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.method, str) or not self.method.strip():
            raise _wrong_call("method", self.method)
        if not isinstance(self.params, list | tuple | dict):
            raise _wrong_call("params", self.params)

    @classmethod
    def of(cls, call: RpcCall | str | Sequence[Any] | dict[str, Any]) -> RpcCall:
        """Return a call from one of its short forms: a method, ``[method, params]``, or a dict of the two.

        A dict may be a complete JSON-RPC request; its ``id`` and ``jsonrpc`` are ignored.

        :raises BloqConfigurationError: It has another form.
        """
        match call:
            case RpcCall():
                return call
            case str(method) | [method]:
                return cls(method)
            case [method, params]:
                return cls(method, params)
            case dict() if "method" in call and call.keys() <= _REQUEST_FIELDS:
                params = call.get("params")
                return cls(call["method"]) if params is None else cls(call["method"], params)
        raise _wrong_call("batch", call)

    @property
    def only_reads(self) -> bool:
        """Whether the method is known to read only, so that it may be sent again after a lost answer."""
        return _READS.fullmatch(self.method) is not None


class RpcApi:
    """The JSON-RPC of one node, cluster or URL.

    :param resolver: Finds the endpoint.
    :param bearer: Signs the requests to endpoints that take the access token.
    :param policy: When and how often to retry.
    """

    def __init__(self, *, resolver: EndpointResolver, bearer: BearerAuth, policy: RetryPolicy) -> None:
        self.resolver = resolver
        self.bearer = bearer
        self.policy = policy
        self._ids = itertools.count(1)
        #: Largest batch that the node may still accept; None until it refuses one.
        self._most_at_once: int | None = None

    @operation
    def call(
        self, method: str, params: Sequence[Any] | dict[str, Any] = (), *, idempotent: bool | None = None
    ) -> Flow[Any]:
        """Call one method.

        :param method: Method, such as ``eth_blockNumber``.
        :param params: Its parameters.
        :param idempotent: Whether the call may be sent again after a lost answer; by default only if its method is
            known to read only.
        :return: The ``result``.
        :raises BloqRpcError: The node answered with an error object.
        :raises BloqApiError: The node could not be reached or did not answer with JSON-RPC.
        """
        (outcome,) = yield from self._batch([RpcCall(method, params)], 1, idempotent)
        return _result(outcome)

    @operation
    def batch(
        self,
        calls: Iterable[RpcCall | str | Sequence[Any] | dict[str, Any]],
        *,
        limit: int = BATCH_LIMIT,
        return_errors: bool = False,
        idempotent: bool | None = None,
    ) -> Flow[list[Any]]:
        """Call many methods, in as few requests as the limit allows.

        :param calls: The calls; see :meth:`RpcCall.of` for their short forms.
        :param limit: Calls in one request. If the node refuses so many, smaller batches are sent.
        :param return_errors: Whether to return a call's :class:`BloqRpcError` in its place instead of raising it.
        :param idempotent: As for :meth:`call`.
        :return: The results in the order of the calls.
        :raises BloqRpcError: The node answered one of the calls with an error object.
        :raises BloqApiError: The node could not be reached or did not answer with JSON-RPC.
        """
        require_whole_number("limit", limit, least=1)
        if isinstance(calls, str | Mapping):
            raise _wrong_call("batch", calls)
        outcomes = yield from self._batch([RpcCall.of(call) for call in calls], limit, idempotent)
        return outcomes if return_errors else [_result(outcome) for outcome in outcomes]

    def _batch(self, calls: list[RpcCall], limit: int, idempotent: bool | None) -> Flow[list[Any]]:
        outcomes: list[Any] = []
        while len(outcomes) < len(calls):
            size = min(limit, self._most_at_once or limit)
            chunk = calls[len(outcomes) : len(outcomes) + size]
            try:
                outcomes += yield from self._exchange(chunk, idempotent)
            except BatchTooLarge as refusal:
                if len(chunk) == 1:
                    raise refusal.error from None
                # Concurrent batches may be refused one after the other.
                self._most_at_once = min(self._most_at_once or size, len(chunk) // 2)
        return outcomes

    def _exchange(self, calls: list[RpcCall], idempotent: bool | None) -> Flow[list[Any]]:
        if idempotent is None:
            idempotent = all(call.only_reads for call in calls)
        endpoint = yield from self.resolver.resolve()
        numbered = {next(self._ids): call for call in calls}
        body = [
            {"jsonrpc": endpoint.version, "id": number, "method": call.method, "params": _params(call)}
            for number, call in numbered.items()
        ]
        request = json_request("POST", endpoint.url, body if len(body) > 1 else body[0])
        response = yield from self._send(request, endpoint, idempotent)
        return parse_answers(request, response, {number: call.method for number, call in numbered.items()})

    def _send(self, request: Request, endpoint: RpcEndpoint, idempotent: bool) -> Flow[Response]:
        # A path key or a node's password may have been changed. A refused access token is replaced by the bearer.
        if endpoint.path_key is not None:
            refusals, credential = {401, 403}, f"path key that the connection has for {endpoint.chain}"
        elif endpoint.basic is not None:
            refusals, credential = {401}, "user and password that the Nodes API returns for it"
        else:
            return (yield from self._send_to(request, endpoint, idempotent))

        def refresh(used: RpcEndpoint, response: Response, replacements: int) -> Flow[RpcEndpoint | None]:
            nonlocal endpoint
            if replacements or response.status not in refusals:
                return None
            endpoint = yield from self.resolver.resolve(refresh=True)
            return endpoint if endpoint != used else None

        def send(used: RpcEndpoint) -> Flow[Response]:
            return (yield from self._send_to(request, used, idempotent))

        response = yield from send(endpoint)
        response, _ = yield from resend_refused(endpoint, response, replace=refresh, send=send)
        if response.status in refusals:
            raise BloqAuthError(f"{endpoint.url} refuses the {credential}.")
        return response

    def _send_to(self, request: Request, endpoint: RpcEndpoint, idempotent: bool) -> Flow[Response]:
        once = partial(sent_with_retries, policy=self.policy, idempotent=idempotent)
        addressed = replace(request, url=endpoint.url, trust=endpoint.trust, path_key=endpoint.path_key)
        if endpoint.path_key is not None:
            # The key is the only credential: the access token must not be sent there.
            return (yield from once(addressed))
        if endpoint.basic is None:
            return (yield from self.bearer.send(addressed, once))
        return (yield from once(addressed.with_header("Authorization", endpoint.basic.basic_header())))


class RpcClient(RunsBlocking, RpcApi):
    """:class:`RpcApi` with operations that block."""


class AsyncRpcClient(RunsAsync, RpcApi):
    """:class:`RpcApi` with operations that are awaited."""


def _wrong_call(field: str, value: object) -> BloqConfigurationError:
    return BloqConfigurationError.of(
        field,
        f"{str(value)[:80]!r} is not a JSON-RPC call or part of one",
        "A call is a method, [method, params], or a dict of the two; params are a list, or a dict by name.",
    )


def _params(call: RpcCall) -> Any:
    return call.params if isinstance(call.params, dict) else list(call.params)


def _result(outcome: Any) -> Any:
    if isinstance(outcome, BloqRpcError):
        raise outcome
    return outcome


class BatchTooLarge(BloqError):
    """The node does not accept so many calls in one request. Never leaves this module."""

    def __init__(self, error: BloqError) -> None:
        self.error = error
        super().__init__(str(error))


def parse_answers(request: Request, response: Response, methods: dict[int, str]) -> list[Any]:
    """Return for each call its result or the :class:`BloqRpcError` that it received.

    :param methods: Ids and methods of the calls, in their order.
    :raises BatchTooLarge: The node does not accept so many calls at once.
    :raises BloqRpcError: The node answered the whole batch with one error.
    :raises BloqApiError: The response is not JSON-RPC.
    """
    if response.status == 413:
        raise BatchTooLarge(error_of(request, response))
    if response.status in (401, 429):
        # A proxy in front of the node sends these, sometimes with a JSON-RPC error as the body.
        raise error_of(request, response)
    items = _answers_in(response.body)
    carried = response.request or request
    if not items:  # An error status alone proves nothing: bitcoind sends 500 or 404 with a JSON-RPC error.
        if response.status == 200:
            raise _unusable(request, response, "a body that is not a JSON-RPC response")
        raise error_of(request, response)
    if len(methods) > 1 and len(items) == 1 and items[0].get("id") is None and _has_error(items[0]):
        # One error for the whole batch, often because it is too large.
        error = _rpc_error(items[0]["error"], None, carried)
        if "batch" in error.message.lower() or "too large" in error.message.lower():
            raise BatchTooLarge(error)
        raise error
    answers = {item.get("id"): item for item in items}
    if len(methods) == 1 and None in answers and _has_error(answers[None]):
        # Allowed if the node could not read the id.
        answers = dict.fromkeys(methods, answers[None])
    missing = methods.keys() - answers.keys()
    if missing or len(items) != len(methods):
        raise _unusable(
            request, response, f"responses that do not match the calls ({len(missing)} are missing)"
        )
    return [
        _rpc_error(answers[number]["error"], method, carried)
        if _has_error(answers[number])
        else answers[number].get("result")
        for number, method in methods.items()
    ]


def _answers_in(body: bytes) -> list[dict[str, Any]]:
    """Return the response objects of a body; an empty list if it holds anything else."""
    try:
        parsed: Any = service.parse_json(body)
    except ValueError:
        return []
    items = parsed if isinstance(parsed, list) else [parsed]
    return items if all(map(_is_answer, items)) else []


def _is_answer(item: Any) -> bool:
    # The error page of a gateway may be JSON with an "error", but it has no id.
    return (
        isinstance(item, dict)
        and isinstance(item.get("id", ""), int | str | None)
        and ("result" in item or ("id" in item and _has_error(item)))
    )


def _has_error(answer: dict[str, Any]) -> bool:
    return answer.get("error") is not None


def _rpc_error(error: Any, method: str | None, carried: Request) -> BloqRpcError:
    # The error may quote the path with the path key in it.
    error = redact_response(error, carried)
    if not isinstance(error, dict):
        return BloqRpcError(None, str(error)[:300], None, method)
    code = error.get("code")
    return BloqRpcError(
        code if isinstance(code, int) else None, str(error.get("message") or ""), error.get("data"), method
    )


def _unusable(request: Request, response: Response, what: str) -> BloqUnavailable:
    url = request.url.partition("?")[0]
    return BloqUnavailable(f"POST {url} returned {what}.", status=response.status, method="POST", url=url)
