"""The errors of this provider: decide on the class and its fields, never on the text.

No message contains a token, a key, a password or the body of a response from the token endpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

__all__ = [
    "BloqAccountRejected",
    "BloqAmbiguousCreate",
    "BloqApiError",
    "BloqAuthError",
    "BloqCallsFailed",
    "BloqCertificateError",
    "BloqClientKeysRejected",
    "BloqConfigurationError",
    "BloqError",
    "BloqForeignEvent",
    "BloqListShifted",
    "BloqNotFound",
    "BloqNotStarted",
    "BloqQuotaExceeded",
    "BloqRateLimited",
    "BloqReorg",
    "BloqResultTooLarge",
    "BloqRotationDisputed",
    "BloqRotationError",
    "BloqRotationHalted",
    "BloqRotationOvertaken",
    "BloqRpcError",
    "BloqSharedTokenStale",
    "BloqTokenRejected",
    "BloqTransactionDropped",
    "BloqTransactionFailed",
    "BloqTransactionRefused",
    "BloqTransactionReplaced",
    "BloqTransactionReverted",
    "BloqUnavailable",
    "BloqUnsafeAddress",
    "BloqUpdateNotDone",
    "BloqVaultUnavailable",
    "BloqWaitTimeout",
    "FieldProblem",
]


class BloqError(Exception):
    """Base of all errors of this provider."""

    #: Whether the same call may succeed later without anybody changing anything.
    retryable: bool = False

    def summary(self) -> dict[str, Any]:
        """Return the error as plain JSON, such as for a notification. Contains no secret.

        :return: ``error``, the name of the class in this module, even if the error is its subclass that Airflow
            does not retry; ``message``; ``retryable``; and ``fields``, a dict of the other fields. Long texts and
            lists are cut.
        """
        named = next(kind for kind in type(self).__mro__ if kind.__module__ == __name__)
        fields = {
            name: _brief(value)
            for name, value in vars(self).items()
            if name != "retryable" and not name.startswith("_")
        }
        return {
            "error": named.__name__,
            "message": _brief(str(self)),
            "retryable": self.retryable,
            "fields": fields,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        # By default, pickle calls the class with the message alone, which loses the fields.
        return _unpickle, (type(self), self.args, dict(self.__dict__))


def _unpickle(cls: type[BloqError], args: tuple[Any, ...], fields: dict[str, Any]) -> BloqError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


#: Limits of a summary, since a node's answer may be of any size: characters of a text, items of a list.
_MAX_TEXT, _MAX_ITEMS = 1000, 20


def _brief(value: Any) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return value if len(value) <= _MAX_TEXT else f"{value[: _MAX_TEXT - 1]}…"
        case BloqError():
            return value.summary()
        case FieldProblem():
            return value._asdict()
        case list() | tuple():
            return [_brief(one) for one in value[:_MAX_ITEMS]]
        case dict():
            return {str(name): _brief(one) for name, one in list(value.items())[:_MAX_ITEMS]}
    return type(value).__name__


class FieldProblem(NamedTuple):
    """One wrong setting: its field, the problem and the remedy."""

    field: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}. {self.remedy}"


class BloqConfigurationError(BloqError):
    """Raised if a setting is wrong, with every wrong field and its remedy. A retry cannot help.

    :param problems: All wrong fields.
    :param where: What the fields belong to, such as ``connection 'bloq_default'``.
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
        """Return the error for a single field."""
        return cls([FieldProblem(field, problem, remedy)], where)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the wrong fields."""
        return tuple(problem.field for problem in self.problems)


class BloqAuthError(BloqError):
    """Base of the errors about credentials."""


class BloqClientKeysRejected(BloqAuthError):
    """Raised if Accounts rejects the client keys and their source has no newer ones."""


class BloqTokenRejected(BloqAuthError):
    """Raised if a service rejects a token that was just minted, or the only token that a reader has."""


class BloqAccountRejected(BloqAuthError):
    """Raised if Accounts rejects the account's user and password, which manage client keys."""


class BloqSharedTokenStale(BloqAuthError):
    """Raised if the shared path holds no valid access token and this connection may only read it.

    The token's broker has not renewed it in time.

    :param path: Path of the shared token.
    :param client_id: Client ID that the stored token was minted from; None if there is no token.
    :param age: Seconds since the token was written, by Vault's clock; None if there is no token.
    """

    retryable = True

    def __init__(
        self, message: str, *, path: str, client_id: str | None = None, age: float | None = None
    ) -> None:
        self.path = path
        self.client_id = client_id
        self.age = age
        super().__init__(message)


class BloqVaultUnavailable(BloqAuthError):
    """Raised if Vault cannot be reached, is sealed or fails."""

    retryable = True


class BloqApiError(BloqError):
    """Raised if a Bloq service answers with an error or not at all.

    :param message: What happened.
    :param status: HTTP status; None if there was no answer.
    :param code: The ``code`` of the error body, such as ``LimitExceeded``.
    :param title: The ``title`` of a problem body (RFC 9457).
    :param detail: The ``detail`` of a problem body.
    :param request_id: The service's id for the request, if it sent one.
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
    """Raised if a node, cluster or service does not exist or does not belong to this account."""


class BloqQuotaExceeded(BloqApiError):
    """Raised if the account has reached a limit, such as its number of nodes (``LimitExceeded``)."""


class BloqRateLimited(BloqApiError):
    """Raised if a service limits the rate of requests.

    :param retry_after: Seconds to wait, if the service says.
    """

    retryable = True

    def __init__(self, message: str, *, retry_after: float | None = None, **fields: Any) -> None:
        self.retry_after = retry_after
        super().__init__(message, **fields)


class BloqUnavailable(BloqApiError):
    """Raised if a service cannot be reached, fails, or gives an unusable answer.

    :param acted: Whether the service may have acted on the request; False if it certainly did not.
    """

    retryable = True

    def __init__(self, message: str, *, acted: bool = True, **fields: Any) -> None:
        self.acted = acted
        super().__init__(message, **fields)


class BloqCertificateError(BloqApiError):
    """Raised if the certificate of a node is not the pinned one, or none is pinned. Nothing was sent.

    :param fingerprint: SHA-256 fingerprint of the node's certificate, in lower-case hex.
    """

    def __init__(self, message: str, *, fingerprint: str | None = None, **fields: Any) -> None:
        self.fingerprint = fingerprint
        super().__init__(message, **fields)


class BloqUnsafeAddress(BloqError):
    """Raised if the API returns a node address that must not receive credentials. Nothing was sent."""


class BloqAmbiguousCreate(BloqApiError):
    """Raised if a create got no answer and it is unknown which node, if any, it created.

    :param candidates: Ids of the nodes that it may have created. None of them was changed.
    """

    def __init__(self, message: str, *, candidates: Iterable[str] = (), **fields: Any) -> None:
        self.candidates = tuple(candidates)
        super().__init__(message, **fields)


class BloqRpcError(BloqError):
    """Raised if a node answers a JSON-RPC call with an error object.

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


class BloqCallsFailed(BloqRpcError):
    """Raised if a node answers some of many calls with an error object. Has the fields of the first error.

    :param failures: The position of each failed call, counted from 0, and its error.
    :param total: How many calls were made.
    """

    def __init__(self, failures: Iterable[tuple[int, BloqRpcError]], total: int) -> None:
        self.failures = tuple(failures)
        self.total = total
        first = self.failures[0][1]
        shown = "; ".join(f"call {position}, {error}" for position, error in self.failures[:3])
        more = "; …" if len(self.failures) > 3 else ""
        super().__init__(first.code, first.message, first.data, first.method)
        self.args = (f"{len(self.failures)} of {total} calls failed: {shown}{more}",)


class BloqResultTooLarge(BloqError):
    """Raised if a task's result is larger than its limit. Nothing was stored.

    :param size: Size of the result in bytes of JSON.
    :param limit: Largest size allowed.
    """

    def __init__(self, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            f"The result is {size} bytes of JSON, more than result_limit ({limit}). Give a result_path to store "
            "large results, a response_filter to select the parts that are needed, or a higher limit."
        )


class BloqNotStarted(BloqApiError):
    """Raised if a node was created but may not have started. It may still exist and cost money.

    :param node_id: Id of the node.
    """

    def __init__(self, message: str, *, node_id: str, **fields: Any) -> None:
        self.node_id = node_id
        super().__init__(message, **fields)


class BloqUpdateNotDone(BloqError):
    """Raised if a cluster's update ended without its effect: it was aborted, it failed, or the cluster was stopped.

    :param cluster_id: Id of the cluster.
    """

    def __init__(self, message: str, *, cluster_id: str) -> None:
        self.cluster_id = cluster_id
        super().__init__(message)


class BloqTransactionFailed(BloqError):
    """Base of the errors about a transaction without the desired effect.

    :param tx_hash: Hash of the transaction.
    """

    def __init__(self, message: str, *, tx_hash: str) -> None:
        self.tx_hash = tx_hash
        super().__init__(message)


class BloqTransactionReverted(BloqTransactionFailed):
    """Raised if a transaction is in the chain but its execution failed: it only cost its fee.

    :param height: Number of its block.
    :param block_hash: Hash of its block.
    """

    def __init__(self, message: str, *, tx_hash: str, height: int, block_hash: str) -> None:
        self.height = height
        self.block_hash = block_hash
        super().__init__(message, tx_hash=tx_hash)


class BloqTransactionReplaced(BloqTransactionFailed):
    """Raised if another transaction with the same nonce or an input of this one is in the chain instead."""


class BloqTransactionRefused(BloqTransactionFailed):
    """Raised if a node rejects a transaction; ``retryable`` if the reason may pass."""


class BloqTransactionDropped(BloqTransactionFailed):
    """Raised if the node does not know a transaction and no other one has replaced it.

    It can still enter the chain if it is sent again.
    """

    retryable = True


class BloqReorg(BloqError):
    """Raised if blocks that were read are no longer part of the chain.

    :param first: Height of the first block that changed.
    :param last: Height of the last block that had been read.
    """

    retryable = True

    def __init__(self, first: int, last: int) -> None:
        self.first = first
        self.last = last
        super().__init__(f"blocks {first} to {last} were replaced by a reorg")


class BloqListShifted(BloqError):
    """Raised if a list changed while it was read in pages, so items may be missing. Read it again.

    :param given: How many items had been read.
    """

    retryable = True

    def __init__(self, message: str, *, given: int) -> None:
        self.given = given
        super().__init__(message)


class BloqRotationError(BloqError):
    """Raised if a rotation of client keys is not complete. The next try resumes it."""

    retryable = True


class BloqRotationOvertaken(BloqRotationError):
    """Raised if another writer changed the client keys in Vault first. The pair created here was deleted again.

    :param winner_version: Version of the secret that is in Vault instead.
    """

    def __init__(self, message: str, *, winner_version: int) -> None:
        self.winner_version = winner_version
        super().__init__(message)


class BloqRotationDisputed(BloqRotationError):
    """Raised if it is unknown which client keys an interrupted rotation created. None were deleted.

    :param candidates: Client IDs that it may have created, each with its time of creation according to Accounts.
    """

    retryable = False

    def __init__(self, message: str, *, candidates: Iterable[tuple[str, str | None]]) -> None:
        self.candidates = tuple(candidates)
        super().__init__(message)


class BloqRotationHalted(BloqRotationError):
    """Raised if continuing would delete client keys that may still be needed. A person has to decide."""

    retryable = False


class BloqWaitTimeout(BloqError):
    """Raised if a wait times out. The text says what was still missing."""


class BloqForeignEvent(BloqError):
    """Raised if the triggerer sent an event that this version of the provider does not know, as during an upgrade."""

    retryable = True
