"""From what a node answered to the results of the calls."""

from __future__ import annotations

from typing import Any

from airflow_provider_bloq.auth import safe_json
from airflow_provider_bloq.auth.flow import Request, Response
from airflow_provider_bloq.clients.echoes import without_echoes
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
        parsed: Any = safe_json.loads(body)
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
    error = without_echoes(error, carried)
    if not isinstance(error, dict):
        return BloqRpcError(None, str(error)[:300], None, method)
    code = error.get("code")
    return BloqRpcError(
        code if isinstance(code, int) else None, str(error.get("message") or ""), error.get("data"), method
    )


def _unusable(request: Request, response: Response, what: str) -> BloqUnavailable:
    url = request.url.partition("?")[0]
    return BloqUnavailable(f"POST {url} gave {what}.", status=response.status, method="POST", url=url)
