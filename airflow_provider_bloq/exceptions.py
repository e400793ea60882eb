"""What can go wrong, as types: a caller decides on the class and its fields, never on the text.

No message holds a token, a key, a password or the body of the token endpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

__all__ = [
    "BloqAmbiguousCreate",
    "BloqApiError",
    "BloqAuthError",
    "BloqCertificateError",
    "BloqClientKeysRejected",
    "BloqConfigurationError",
    "BloqError",
    "BloqNotFound",
    "BloqNotStarted",
    "BloqQuotaExceeded",
    "BloqRateLimited",
    "BloqReorg",
    "BloqRpcError",
    "BloqTokenRejected",
    "BloqUnavailable",
    "BloqUnsafeAddress",
    "BloqVaultUnavailable",
    "FieldProblem",
]


class BloqError(Exception):
    """Root of every error of this provider."""

    #: Whether the same call may succeed later with nothing changed by hand.
    retryable: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own way calls the class with the message alone, which loses the fields.
        return _revive, (type(self), self.args, dict(self.__dict__))


def _revive(cls: type[BloqError], args: tuple[Any, ...], fields: dict[str, Any]) -> BloqError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One wrong setting: which field, what is wrong with it, and what to do about it."""

    field: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}. {self.remedy}"


class BloqConfigurationError(BloqError):
    """A setting is wrong; trying again cannot help. Names every wrong field with its remedy.

    :param problems: The wrong fields, all of them.
    :param where: What they belong to, such as ``connection 'bloq_default'``.
    """

    def __init__(self, problems: Iterable[FieldProblem], where: str | None = None) -> None:
        self.problems = tuple(problems)
        self.where = where
        text = "\n".join(f"- {problem}" for problem in self.problems)
        if len(self.problems) == 1:
            text = str(self.problems[0])
            super().__init__(f"{where}: {text}" if where else text)
        else:
            super().__init__(f"{where or 'settings'}: {len(self.problems)} fields are wrong\n{text}")

    @classmethod
    def of(cls, field: str, problem: str, remedy: str, where: str | None = None) -> BloqConfigurationError:
        """Make the error for a single field."""
        return cls([FieldProblem(field, problem, remedy)], where)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the wrong fields."""
        return tuple(problem.field for problem in self.problems)


class BloqAuthError(BloqError):
    """The credentials could not be used."""


class BloqClientKeysRejected(BloqAuthError):
    """Accounts refuses the client keys, and their source holds no others."""


class BloqTokenRejected(BloqAuthError):
    """A service refuses even a token that was made for this very call."""


class BloqVaultUnavailable(BloqAuthError):
    """Vault cannot be reached, is sealed or fails; the client keys could not be read."""

    retryable = True


class BloqApiError(BloqError):
    """A service of Bloq answered with an error, or not at all.

    :param message: What happened, for a person.
    :param status: HTTP status; None where no answer came.
    :param code: The ``code`` of the error body, such as ``LimitExceeded``.
    :param title: The ``title`` of a problem body (RFC 9457).
    :param detail: The ``detail`` of a problem body.
    :param request_id: The service's id of the request, if it sent one.
    :param method: HTTP method of the request.
    :param url: URL of the request, without its query.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        title: str | None = None,
        detail: str | None = None,
        request_id: str | None = None,
        method: str | None = None,
        url: str | None = None,
    ) -> None:
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.request_id = request_id
        self.method = method
        self.url = url
        super().__init__(message)


class BloqNotFound(BloqApiError):
    """The node, cluster or service does not exist or is not this account's."""


class BloqQuotaExceeded(BloqApiError):
    """The account runs as many nodes as its plan allows (``LimitExceeded``)."""


class BloqRateLimited(BloqApiError):
    """The service asks for fewer requests.

    :param retry_after: Seconds to wait as told by the service; None if it did not say.
    """

    retryable = True

    def __init__(self, message: str, *, retry_after: float | None = None, **fields: Any) -> None:
        self.retry_after = retry_after
        super().__init__(message, **fields)


class BloqUnavailable(BloqApiError):
    """The service could not be reached, failed, or its answer is not usable.

    :param acted: Whether the service may have acted on the request: False where it surely did not.
    """

    retryable = True

    def __init__(self, message: str, *, acted: bool = True, **fields: Any) -> None:
        self.acted = acted
        super().__init__(message, **fields)


class BloqCertificateError(BloqApiError):
    """The certificate of a node is not the expected one, or none was pinned. Nothing was sent.

    :param fingerprint: SHA-256 fingerprint that the node showed, in lower-case hex.
    """

    def __init__(self, message: str, *, fingerprint: str | None = None, **fields: Any) -> None:
        self.fingerprint = fingerprint
        super().__init__(message, **fields)


class BloqUnsafeAddress(BloqError):
    """The API names an address for a node that no credential may be sent to. Nothing was sent."""


class BloqAmbiguousCreate(BloqApiError):
    """A create got no answer, and it cannot be told which node, if any, came of it.

    :param candidates: Ids of the nodes that may have come of it. None of them was touched.
    """

    def __init__(self, message: str, *, candidates: Iterable[str] = (), **fields: Any) -> None:
        self.candidates = tuple(candidates)
        super().__init__(message, **fields)


class BloqRpcError(BloqError):
    """A node answered a JSON-RPC call with an error object.

    :param code: The JSON-RPC error code.
    :param message: The node's message.
    :param data: The error's ``data``, if any.
    :param method: The JSON-RPC method that was called.
    """

    def __init__(self, code: int | None, message: str, data: Any = None, method: str | None = None) -> None:
        self.code = code
        self.message = message
        self.data = data
        self.method = method
        super().__init__(f"{method or 'JSON-RPC'}: {message} (code {code})")


class BloqNotStarted(BloqApiError):
    """A node was created, but it is not known to have started. It still exists, and costs money.

    :param node_id: Its id, by which it can be looked at and deleted.
    """

    def __init__(self, message: str, *, node_id: str, **fields: Any) -> None:
        self.node_id = node_id
        super().__init__(message, **fields)


class BloqReorg(BloqError):
    """The chain was reorganised: blocks that were read are no longer part of it.

    :param first: Height of the first block that changed.
    :param last: Height of the last block that had been read.
    """

    retryable = True

    def __init__(self, first: int, last: int) -> None:
        self.first = first
        self.last = last
        super().__init__(f"blocks {first} to {last} were replaced by a reorg")
