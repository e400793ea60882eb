"""Which errors Airflow must not retry, and that all of them survive the way to another process."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_bloq import exceptions
from airflow_provider_bloq.exceptions import (
    BloqAccountRejected,
    BloqAmbiguousCreate,
    BloqApiError,
    BloqCallsFailed,
    BloqCertificateError,
    BloqClientKeysRejected,
    BloqConfigurationError,
    BloqError,
    BloqNotFound,
    BloqNotStarted,
    BloqQuotaExceeded,
    BloqRateLimited,
    BloqReorg,
    BloqResultTooLarge,
    BloqRotationDisputed,
    BloqRotationHalted,
    BloqRpcError,
    BloqTransactionReplaced,
    BloqTransactionReverted,
    BloqUnavailable,
    BloqUpdateNotDone,
    FieldProblem,
)
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.testing.local import Fault, FaultKind, IssuedKeys, LocalBloq
from tests.hooks.conftest import Connect

API_FIELDS = {
    "status": 418,
    "code": "Teapot",
    "title": "t",
    "detail": "d",
    "request_id": "r",
    "method": "GET",
    "url": "https://nodes.example/x",
}


def every_error() -> list[BloqError]:
    """Make one of each class, with all of its fields."""
    more: dict[str, dict[str, Any]] = {
        "BloqRateLimited": {"retry_after": 7.5},
        "BloqUnavailable": {"acted": False},
        "BloqCertificateError": {"fingerprint": "ab" * 32},
        "BloqAmbiguousCreate": {"candidates": ["node-1", "node-2"]},
        "BloqListShifted": {"given": 7},
        "BloqNotStarted": {"node_id": "node-1"},
        "BloqRotationDisputed": {"candidates": [("id-1", None)]},
        "BloqRotationOvertaken": {"winner_version": 7},
        "BloqSharedTokenStale": {"path": "bloq/token"},
        "BloqTransactionDropped": {"tx_hash": "0xab"},
        "BloqTransactionFailed": {"tx_hash": "0xab"},
        "BloqTransactionRefused": {"tx_hash": "0xab"},
        "BloqTransactionReplaced": {"tx_hash": "0xab"},
        "BloqTransactionReverted": {"tx_hash": "0xab", "height": 7, "block_hash": "0xcd"},
        "BloqUpdateNotDone": {"cluster_id": "cluster-1"},
    }
    special: dict[str, Callable[[], BloqError]] = {
        "BloqConfigurationError": lambda: BloqConfigurationError(
            [FieldProblem("a", "b", "c"), FieldProblem("d", "e", "f")], "here"
        ),
        "BloqRpcError": lambda: BloqRpcError(-32000, "reverted", {"x": 1}, "eth_call"),
        "BloqReorg": lambda: BloqReorg(5, 9),
        "BloqCallsFailed": lambda: BloqCallsFailed([(1, BloqRpcError(-32000, "reverted"))], 3),
        "BloqResultTooLarge": lambda: BloqResultTooLarge(10, 5),
    }
    errors: list[BloqError] = []
    for name in exceptions.__all__:
        kind = getattr(exceptions, name)
        if not issubclass(kind, BloqError):
            continue
        if name in special:
            errors.append(special[name]())
        elif issubclass(kind, BloqApiError):
            errors.append(kind("it failed", **API_FIELDS, **more.get(name, {})))
        else:
            errors.append(kind("it failed", **more.get(name, {})))
    return errors


def raised_by_a_hook(error: BloqError) -> BloqError:
    with pytest.raises(BloqError) as raised, raise_as_fail_exception():
        raise error
    return raised.value


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_every_error_survives_pickle_and_copy(error: BloqError) -> None:
    for original in (error, raised_by_a_hook(error)):
        for twin in (pickle.loads(pickle.dumps(original)), copy.copy(original)):
            assert type(twin) is type(original)
            assert (twin.args, str(twin)) == (original.args, str(original))
            # By its text: an error within an error is equal to nothing but itself.
            assert repr(vars(twin)) == repr(vars(original))


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_only_what_no_retry_can_help_fails_at_once(error: BloqError) -> None:
    for_good = (
        BloqConfigurationError,
        BloqClientKeysRejected,
        BloqAmbiguousCreate,
        BloqNotStarted,
        BloqAccountRejected,
        BloqResultTooLarge,
        BloqRotationDisputed,
        BloqRotationHalted,
        BloqTransactionReplaced,
        BloqTransactionReverted,
        BloqUpdateNotDone,
    )
    raised = raised_by_a_hook(error)
    assert isinstance(raised, AirflowFailException) is isinstance(error, for_good)
    assert isinstance(raised, type(error))
    assert raised.retryable is error.retryable
    assert (str(raised), vars(raised)) == (str(error), vars(error))


def test_the_cause_of_a_failure_is_kept() -> None:
    cause = BloqUnavailable("the answer was lost")
    with pytest.raises(AirflowFailException) as failure, raise_as_fail_exception():
        raise BloqAmbiguousCreate("which?") from cause
    assert failure.value.__cause__ is cause
    assert [entry.name for entry in failure.traceback][-1] == "test_the_cause_of_a_failure_is_kept"


def test_what_fails_at_once_already_stays_what_it_is() -> None:
    first = raised_by_a_hook(BloqClientKeysRejected("no"))
    assert raised_by_a_hook(first) is first


def calls() -> list[tuple[str, Callable[[BloqHook], Any]]]:
    """All ways to use a hook that need a token."""
    return [
        ("client", lambda hook: hook.nodes.list()),
        ("token", lambda hook: hook.get_access_token()),
        ("session", lambda hook: hook.get_conn().get(f"{hook.settings.nodes_url}/users/me/nodes")),
        ("rpc", lambda hook: hook.rpc("node-1").call("eth_chainId")),
        ("rpc session", lambda hook: hook.rpc("node-1").get_conn()),
    ]


@pytest.mark.parametrize("call", [call for _, call in calls()], ids=[name for name, _ in calls()])
def test_refused_keys_fail_at_once_however_they_are_met(
    service: LocalBloq, keys: IssuedKeys, call: Callable[[BloqHook], Any]
) -> None:
    service.delete_client_keys(keys.client_id)
    with pytest.raises(BloqClientKeysRejected, match=keys.client_id) as refusal:
        call(BloqHook())
    assert isinstance(refusal.value, AirflowFailException)
    assert keys.client_secret not in str(refusal.value)


@pytest.mark.parametrize("call", [call for _, call in calls()], ids=[name for name, _ in calls()])
def test_wrong_settings_fail_at_once_however_they_are_met(
    service: LocalBloq, connect: Connect, call: Callable[[BloqHook], Any]
) -> None:
    connect(service.accounts_url, service.nodes_url, password="***")
    with pytest.raises(BloqConfigurationError, match="password") as wrong:
        call(BloqHook())
    assert isinstance(wrong.value, AirflowFailException)


def test_keys_that_are_refused_in_the_middle_of_a_session_fail_at_once(
    service: LocalBloq, keys: IssuedKeys
) -> None:
    hook = BloqHook()
    url = f"{service.nodes_url}/users/me/nodes"
    assert hook.get_conn().get(url).ok
    service.delete_client_keys(keys.client_id)
    service.revoke_access_tokens(keys.client_id)
    with pytest.raises(BloqClientKeysRejected) as refusal:
        hook.get_conn().get(url)
    assert isinstance(refusal.value, AirflowFailException)


def test_a_lost_create_fails_at_once(service: LocalBloq, keys: IssuedKeys) -> None:
    service.add_fault(Fault(kind=FaultKind.LOST_RESPONSE, service="nodes", method="POST"))
    hook = BloqHook()
    with pytest.raises(BloqAmbiguousCreate) as lost:
        hook.nodes.create(service.service_id("btc"))
    assert isinstance(lost.value, AirflowFailException)
    assert lost.value.candidates == tuple(node.id for node in hook.nodes.list())


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(kind=FaultKind.RATE_LIMIT, service="nodes", retry_after=500), BloqRateLimited),
        (Fault(kind=FaultKind.STATUS, service="nodes", status=500), BloqUnavailable),
        (Fault(kind=FaultKind.STATUS, service="nodes", status=404), BloqNotFound),
        (Fault(kind=FaultKind.LIMIT_EXCEEDED, service="nodes"), BloqQuotaExceeded),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else value.__name__,
)
def test_what_may_pass_is_left_to_the_retries_of_airflow(
    service: LocalBloq, keys: IssuedKeys, fault: Fault, kind: type[BloqError]
) -> None:
    service.add_fault(fault)
    with pytest.raises(kind) as error:
        BloqHook().nodes.list()
    assert not isinstance(error.value, AirflowFailException)


def test_a_certificate_error_is_left_to_the_retries_of_airflow(service: LocalBloq, keys: IssuedKeys) -> None:
    hook = BloqHook()
    node = hook.nodes.create(service.service_id("btc"))
    with pytest.raises(BloqCertificateError) as error:
        hook.rpc(node).call("getblockcount")
    assert not isinstance(error.value, AirflowFailException)
