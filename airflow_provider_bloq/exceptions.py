"""What can go wrong, as types: a caller decides on the class and its fields, never on the text.

No message holds a token, a key, a password or the body of the token endpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

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
    """Root of every error of this provider."""

    #: Whether the same call may succeed later with nothing changed by hand.
    retryable: bool = False

    def summary(self) -> dict[str, Any]:
        """Return the error as plain JSON, such as for a notification. There is no secret in it.

        :return: ``error``, the name of the class in this module, also for the kind of it that Airflow does not
            try again; ``message``; ``retryable``; and ``fields``, a dict of what the class has beyond those.
            Long texts and lists are cut.
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
        # Exception's own way calls the class with the message alone, which loses the fields.
        return _revive, (type(self), self.args, dict(self.__dict__))


def _revive(cls: type[BloqError], args: tuple[Any, ...], fields: dict[str, Any]) -> BloqError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


#: The most characters of a text, and items of a list, in a summary: what a node answers may be of any size.
_LONGEST_TEXT, _MOST_ITEMS = 1000, 20


def _brief(value: Any) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return value if len(value) <= _LONGEST_TEXT else f"{value[: _LONGEST_TEXT - 1]}…"
        case BloqError():
            return value.summary()
        case FieldProblem():
            return asdict(value)
        case list() | tuple():
            return [_brief(one) for one in value[:_MOST_ITEMS]]
        case dict():
            return {str(name): _brief(one) for name, one in list(value.items())[:_MOST_ITEMS]}
    return type(value).__name__


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
    """A service refuses even a token that was made for such a call, or the only one that a reader has."""


class BloqAccountRejected(BloqAuthError):
    """Accounts refuses the account's own user and password, which client keys are managed with."""


class BloqSharedTokenStale(BloqAuthError):
    """The shared path holds no access token that is good, and this connection may only read it.

    Whoever keeps that token fresh, its broker, has not done so in time.

    :param path: Where the token is looked for.
    :param client_id: Client ID that the token there was minted from; None where there is none.
    :param age: Seconds since it was written, by Vault's clock; None where there is none.
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


class BloqCallsFailed(BloqRpcError):
    """A node answered some of many calls with an error object. Has the fields of the first one.

    :param failures: The position of each such call, counted from 0, and its error.
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
    """What a task is to return is larger than its limit. Nothing of it was stored.

    :param size: Its size in bytes, as JSON.
    :param limit: The most that the task may return.
    """

    def __init__(self, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        super().__init__(
            f"The result is {size} bytes of JSON, more than result_limit ({limit}). Give a result_path to store such "
            "results at, have a response_filter take what is needed of them, or raise the limit."
        )


class BloqNotStarted(BloqApiError):
    """A node was created, but it is not known to have started. It still exists, and costs money.

    :param node_id: Its id, by which it can be looked at and deleted.
    """

    def __init__(self, message: str, *, node_id: str, **fields: Any) -> None:
        self.node_id = node_id
        super().__init__(message, **fields)


class BloqUpdateNotDone(BloqError):
    """A cluster's update is over, but the cluster is not what it was to become: it was stopped, or failed.

    :param cluster_id: The cluster's id.
    """

    def __init__(self, message: str, *, cluster_id: str) -> None:
        self.cluster_id = cluster_id
        super().__init__(message)


class BloqTransactionFailed(BloqError):
    """A transaction did not do what it was sent for, or will not.

    :param tx_hash: Its hash.
    """

    def __init__(self, message: str, *, tx_hash: str) -> None:
        self.tx_hash = tx_hash
        super().__init__(message)


class BloqTransactionReverted(BloqTransactionFailed):
    """A transaction is in the chain, but failed when it was executed: it had no effect but its fee.

    :param height: Number of its block.
    :param block_hash: Hash of its block.
    """

    def __init__(self, message: str, *, tx_hash: str, height: int, block_hash: str) -> None:
        self.height = height
        self.block_hash = block_hash
        super().__init__(message, tx_hash=tx_hash)


class BloqTransactionReplaced(BloqTransactionFailed):
    """Another transaction came into the chain in the place of this one, with its nonce or an input of it."""


class BloqTransactionRefused(BloqTransactionFailed):
    """A node does not take a transaction that was sent to it; ``retryable`` where the reason may pass."""


class BloqTransactionDropped(BloqTransactionFailed):
    """A transaction is not known to the node (any more), and nothing has taken its place.

    It can still come: whoever has it may send it again.
    """

    retryable = True


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


class BloqListShifted(BloqError):
    """A list changed while it was read in parts, so that some of it may have been missed: begin anew.

    :param given: How many of its items were read before.
    """

    retryable = True

    def __init__(self, message: str, *, given: int) -> None:
        self.given = given
        super().__init__(message)


class BloqRotationError(BloqError):
    """A rotation of client keys has not come to its end; the next try takes it up where it stands."""

    retryable = True


class BloqRotationOvertaken(BloqRotationError):
    """Somebody else wrote the client keys in Vault first. The pair made here was removed again.

    :param winner_version: The version of the secret that stands in Vault instead.
    """

    def __init__(self, message: str, *, winner_version: int) -> None:
        self.winner_version = winner_version
        super().__init__(message)


class BloqRotationDisputed(BloqRotationError):
    """Which of the account's client keys an interrupted rotation made cannot be told; none was deleted.

    :param candidates: Client IDs that may be its own, each with its time of creation as Accounts tells it.
    """

    retryable = False

    def __init__(self, message: str, *, candidates: Iterable[tuple[str, str | None]]) -> None:
        self.candidates = tuple(candidates)
        super().__init__(message)


class BloqRotationHalted(BloqRotationError):
    """Going on would delete client keys that may still be needed; a person has to look."""

    retryable = False


class BloqWaitTimeout(BloqError):
    """What a task waited for has not come in time; the text is what was still missing."""


class BloqForeignEvent(BloqError):
    """The triggerer sent what this version of the provider does not know, as during an upgrade."""

    retryable = True
