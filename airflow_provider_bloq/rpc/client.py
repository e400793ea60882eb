"""From what a node answered to the results of the calls."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from airflow_provider_bloq.auth.bearer import BearerAuth, resend_refused
from airflow_provider_bloq.exceptions import (
    BloqAuthError,
    BloqConfigurationError,
    BloqError,
    BloqRpcError,
    BloqUnavailable,
)
from airflow_provider_bloq.flow import responses
from airflow_provider_bloq.flow.effects import Flow, Request, Response, RunsAsync, RunsBlocking, operation
from airflow_provider_bloq.flow.responses import error_of, redact_response
from airflow_provider_bloq.flow.retry import RetryPolicy, sent_with_retries
from airflow_provider_bloq.flow.service import json_request
from airflow_provider_bloq.rpc.endpoint import EndpointResolver, RpcEndpoint
from airflow_provider_bloq.validation import require_whole_number

__all__ = [
    "AsyncRpcClient",
    "BatchTooLarge",
    "RpcApi",
    "RpcCall",
    "RpcClient",
    "outcomes_of",
]


class BatchTooLarge(BloqError):
    """The node does not take so many calls in one request. Never leaves the client."""

    def __init__(self, error: BloqError) -> None:
        self.error = error
        super().__init__(str(error))


def outcomes_of(request: Request, response: Response, methods: dict[int, str]) -> list[Any]:
    """Sort the answers to the calls.

    :param request: What was sent.
    :param response: What came.
    :param methods: The ids of the calls, in their order, and their methods.
    :return: For each call its result, or the :class:`BloqRpcError` that it got.
    :raises BatchTooLarge: The node does not take so many calls at once.
    :raises BloqRpcError: The node answered the whole batch with one error.
    :raises BloqApiError: The answer is no JSON-RPC.
    """
    if response.status == 413:
        raise BatchTooLarge(error_of(request, response))
    if response.status in (401, 429):
        # Who the caller is, and how often it calls, is judged by what stands in front of the node, even
        # where it says so in the words of JSON-RPC.
        raise error_of(request, response)
    items = _answers_in(response.body)
    carried = response.request or request
    # Bitcoin's daemon answers an error with HTTP 500 or 404, and the error object in its body.
    if not items:
        if response.status == 200:
            raise _unusable(request, response, "a body that is no JSON-RPC answer")
        raise error_of(request, response)
    if len(methods) > 1 and len(items) == 1 and items[0].get("id") is None and _has_error(items[0]):
        # One error for the whole batch, commonly because it is too large.
        error = _rpc_error(items[0]["error"], None, carried)
        if "batch" in error.message.lower() or "too large" in error.message.lower():
            raise BatchTooLarge(error)
        raise error
    answers = {item.get("id"): item for item in items}
    if len(methods) == 1 and None in answers and _has_error(answers[None]):
        # Allowed where the node could not even read the id.
        answers = dict.fromkeys(methods, answers[None])
    missing = methods.keys() - answers.keys()
    if missing or len(items) != len(methods):
        raise _unusable(
            request, response, f"answers that do not belong to the calls ({len(missing)} without one)"
        )
    return [
        _rpc_error(answers[number]["error"], method, carried)
        if _has_error(answers[number])
        else answers[number].get("result")
        for number, method in methods.items()
    ]


def _answers_in(body: bytes) -> list[dict[str, Any]]:
    """Return the answer objects of a body; empty where it holds anything else."""
    try:
        parsed: Any = responses.parse_json(body)
    except ValueError:
        return []
    items = parsed if isinstance(parsed, list) else [parsed]
    return items if all(map(_is_answer, items)) else []


def _is_answer(item: Any) -> bool:
    # An error page of a gateway may be JSON with an "error" as well, but it has no id.
    return (
        isinstance(item, dict)
        and isinstance(item.get("id", ""), int | str | None)
        and ("result" in item or ("id" in item and _has_error(item)))
    )


def _has_error(answer: dict[str, Any]) -> bool:
    return answer.get("error") is not None


def _rpc_error(error: Any, method: str | None, carried: Request) -> BloqRpcError:
    # What stands in front of a node may quote the path, with the path key in it, in the words of JSON-RPC.
    error = redact_response(error, carried)
    if not isinstance(error, dict):
        return BloqRpcError(None, str(error)[:300], None, method)
    code = error.get("code")
    return BloqRpcError(
        code if isinstance(code, int) else None, str(error.get("message") or ""), error.get("data"), method
    )


def _unusable(request: Request, response: Response, what: str) -> BloqUnavailable:
    url = request.url.partition("?")[0]
    return BloqUnavailable(f"POST {url} gave {what}.", status=response.status, method="POST", url=url)


#: Calls in one HTTP request. Some nodes refuse more than 100.
BATCH_LIMIT = 50

#: Methods that only read: to send them again is harmless when an answer was lost. That of a filter's
#: changes is not among them: it gives each change once.
_READS = re.compile(
    r"(?!eth_getFilterChanges|getnewaddress|getrawchangeaddress)"
    r"(?:eth_(?:get\w+|call|blockNumber|chainId|estimateGas|gasPrice|maxPriorityFeePerGas|feeHistory|syncing|"
    r"accounts|blobBaseFee|protocolVersion|createAccessList)|net_\w+|web3_\w+|trace_\w+|debug_trace\w+|"
    r"txpool_\w+|rpc_modules|info\.\w+|get\w+|decode\w+|estimate\w+|validateaddress|verifychain|uptime|help)"
)
#: What a request of JSON-RPC has, and so a call that is given as a dict may have.
_REQUEST = frozenset({"method", "params", "id", "jsonrpc"})


@dataclass(frozen=True, slots=True)
class RpcCall:
    """One JSON-RPC call.

    :param method: Method, such as ``eth_getBalance``.
    :param params: Parameters: a list, or named ones where the node takes them.
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
        """Read a call from its short forms: a method, ``[method, params]``, or a dict of the two.

        A dict may be a whole request of JSON-RPC; its ``id`` and version are not used.

        :raises BloqConfigurationError: It is none of these.
        """
        match call:
            case RpcCall():
                return call
            case str(method) | [method]:
                return cls(method)
            case [method, params]:
                return cls(method, params)
            case dict() if "method" in call and call.keys() <= _REQUEST:
                params = call.get("params")
                return cls(call["method"]) if params is None else cls(call["method"], params)
        raise _wrong_call("batch", call)

    @property
    def only_reads(self) -> bool:
        """Whether it may be sent again without knowing what became of it."""
        return _READS.fullmatch(self.method) is not None


class RpcApi:
    """The JSON-RPC of one node, cluster or URL.

    :param resolver: Finds out where the calls go.
    :param bearer: Signs them where the target knows its callers by the access token.
    :param policy: How patiently they are repeated.
    """

    def __init__(self, *, resolver: EndpointResolver, bearer: BearerAuth, policy: RetryPolicy) -> None:
        self.resolver = resolver
        self.bearer = bearer
        self.policy = policy
        self._ids = itertools.count(1)
        #: The most calls that the node takes in one request, as far as it has refused more.
        self._most_at_once: int | None = None

    @operation
    def call(
        self, method: str, params: Sequence[Any] | dict[str, Any] = (), *, idempotent: bool | None = None
    ) -> Flow[Any]:
        """Call one method.

        :param method: Method, such as ``eth_blockNumber``.
        :param params: Its parameters.
        :param idempotent: Whether it may be sent again where the answer was lost; by default only
            methods that are known to read alone are.
        :return: The ``result``.
        :raises BloqRpcError: The node answered with an error object.
        :raises BloqApiError: The node could not be reached or gave no JSON-RPC answer.
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
        :param limit: Calls in one request. A node that refuses so many is asked with fewer.
        :param return_errors: Whether a call's :class:`BloqRpcError` stands in its place in the result
            instead of being raised.
        :param idempotent: As for :meth:`call`.
        :return: The results in the order of the calls.
        :raises BloqRpcError: A node answered one of the calls with an error object.
        :raises BloqApiError: The node could not be reached or gave no JSON-RPC answer.
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
                # Of the requests that are under way at a time each may be refused.
                self._most_at_once = min(self._most_at_once or size, len(chunk) // 2)
        return outcomes

    def _exchange(self, calls: list[RpcCall], idempotent: bool | None) -> Flow[list[Any]]:
        if idempotent is None:
            idempotent = all(call.only_reads for call in calls)
        target = yield from self.resolver.resolve()
        numbered = {next(self._ids): call for call in calls}
        body = [
            {"jsonrpc": target.version, "id": number, "method": call.method, "params": _params(call)}
            for number, call in numbered.items()
        ]
        request = json_request("POST", target.url, body if len(body) > 1 else body[0])
        response = yield from self._sent(request, target, idempotent)
        return outcomes_of(request, response, {number: call.method for number, call in numbered.items()})

    def _sent(self, request: Request, endpoint: RpcEndpoint, idempotent: bool) -> Flow[Response]:
        # A node's own password and a path key may have been changed; the access token is the bearer's business.
        refused = (
            (401, 403) if endpoint.path_key is not None else (401,) if endpoint.basic is not None else ()
        )

        def replace(used: RpcEndpoint, response: Response, replacements: int) -> Flow[RpcEndpoint | None]:
            nonlocal endpoint
            if replacements or response.status not in refused:
                return None
            endpoint = yield from self.resolver.resolve(refresh=True)
            return endpoint if endpoint != used else None

        def send(used: RpcEndpoint) -> Flow[Response]:
            return (yield from self._sent_to(request, used, idempotent))

        response = yield from send(endpoint)
        response, _ = yield from resend_refused(endpoint, response, replace=replace, send=send)
        if response.status in refused:
            raise BloqAuthError(
                f"{endpoint.url} refuses the path key that the connection has for {endpoint.chain}."
                if endpoint.path_key is not None
                else f"{endpoint.url} refuses the user and password that the Nodes API gives for it."
            )
        return response

    def _sent_to(self, request: Request, target: RpcEndpoint, idempotent: bool) -> Flow[Response]:
        once = partial(sent_with_retries, policy=self.policy, idempotent=idempotent)
        aimed = replace(request, url=target.url, trust=target.trust, path_key=target.path_key)
        if target.path_key is not None:
            # The key is the whole credential: the access token has no business there.
            return (yield from once(aimed))
        if target.basic is None:
            return (yield from self.bearer.send(aimed, once))
        return (yield from once(aimed.with_header("Authorization", target.basic.basic_header())))


class RpcClient(RunsBlocking, RpcApi):
    """:class:`RpcApi` with operations that block."""


class AsyncRpcClient(RunsAsync, RpcApi):
    """:class:`RpcApi` with operations that are awaited."""


def _wrong_call(field: str, value: object) -> BloqConfigurationError:
    return BloqConfigurationError.of(
        field,
        f"{str(value)[:80]!r} is no JSON-RPC call or part of one",
        "A call is a method, [method, params], or a dict of the two; params are a list, or a dict by name.",
    )


def _params(call: RpcCall) -> Any:
    return call.params if isinstance(call.params, dict) else list(call.params)


def _result(outcome: Any) -> Any:
    if isinstance(outcome, BloqRpcError):
        raise outcome
    return outcome
