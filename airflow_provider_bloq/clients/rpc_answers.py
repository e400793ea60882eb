"""From what a node answered to the results of the calls."""

from __future__ import annotations

import json
from typing import Any

from airflow_provider_bloq.auth.flow import Request, Response
from airflow_provider_bloq.clients.errors import error_of
from airflow_provider_bloq.exceptions import BloqError, BloqRpcError, BloqUnavailable

__all__ = ["BatchTooLarge", "outcomes_of"]


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
    try:
        answer: Any = json.loads(response.body)
    except ValueError:
        answer = None
    # Bitcoin's daemon answers an error with HTTP 500 or 404, and the error object in its body.
    if not _is_rpc(answer):
        if response.status == 200:
            raise _unusable(request, "a body that is no JSON-RPC answer")
        raise error_of(request, response)
    if isinstance(answer, dict):
        if len(methods) > 1:
            # One error for the whole batch, commonly because it is too large.
            error = _rpc_error(answer.get("error"), None)
            if "batch" in error.message.lower() or "too large" in error.message.lower():
                raise BatchTooLarge(error)
            raise error
        answer = [answer]
    answers = {item.get("id"): item for item in answer if _is_rpc(item)}
    if len(methods) == 1 and None in answers and _has_error(answers[None]):
        # Allowed where the node could not even read the id.
        answers = dict.fromkeys(methods, answers[None])
    missing = methods.keys() - answers.keys()
    if missing or len(answer) != len(methods):
        raise _unusable(request, f"answers that do not belong to the calls ({len(missing)} without one)")
    return [
        _rpc_error(answers[number]["error"], method)
        if _has_error(answers[number])
        else answers[number].get("result")
        for number, method in methods.items()
    ]


def _is_rpc(answer: Any) -> bool:
    if isinstance(answer, list):
        return bool(answer)
    # An error page of a gateway may be JSON with an "error" as well, but it has no id.
    return (
        isinstance(answer, dict)
        and isinstance(answer.get("id", ""), int | str | None)
        and ("result" in answer or ("id" in answer and _has_error(answer)))
    )


def _has_error(answer: dict[str, Any]) -> bool:
    return answer.get("error") is not None


def _rpc_error(error: Any, method: str | None) -> BloqRpcError:
    if not isinstance(error, dict):
        return BloqRpcError(None, str(error)[:300], None, method)
    code = error.get("code")
    return BloqRpcError(
        code if isinstance(code, int) else None, str(error.get("message") or ""), error.get("data"), method
    )


def _unusable(request: Request, what: str) -> BloqUnavailable:
    return BloqUnavailable(f"POST {request.url} gave {what}.", status=200, method="POST", url=request.url)
