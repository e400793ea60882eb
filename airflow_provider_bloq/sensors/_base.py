"""What all sensors of this provider have in common: one condition, waited for in any of three ways."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseOperatorLink,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from airflow_provider_bloq.exceptions import BloqError, BloqWaitTimeout
from airflow_provider_bloq.hooks._compat import MissingFeature, warn_once
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.retries import DEFAULT_POLICY, policy_argument, warn_without_retry_policies
from airflow_provider_bloq.operators.links import LINKS
from airflow_provider_bloq.validation import number_of, require_whole_number, untemplated

if TYPE_CHECKING:
    from airflow.sdk import RetryPolicy

    from airflow_provider_bloq.chains.conditions import RpcSubject
    from airflow_provider_bloq.polling.conditions import Condition, Met, Waiting
    from airflow_provider_bloq.polling.on_worker import ConditionPoller

__all__ = [
    "BloqRpcSensor",
    "BloqSensor",
    "number_of",
]


#: Seconds after its deadline at which Airflow ends a trigger that has not done so itself, as when no
#: triggerer runs.
BACKSTOP = 60.0


class BloqSensor(BaseSensorOperator):
    """Waits for a condition. What it decides by is the same in all modes: a subclass says what, nothing more.

    - ``mode="poke"`` keeps the worker slot;
    - ``mode="reschedule"`` frees it between two looks, each of which is a process of its own. What a look
      remembers is kept in Airflow's task state store; before Airflow 3.3 there is none, so each look starts
      anew, also with the count of failures. ``poke_interval`` is raised to 10 s at least: Airflow may take
      the end of one look for a sudden death of the next one if that begins too soon, and then fails the task
      (https://github.com/apache/airflow/issues/71172);
    - ``deferrable=True`` looks once on the worker, then waits in the triggerer, where all tasks that look at
      the same thing share each request. ``mode``, ``exponential_backoff`` and ``silent_fail`` have no part
      in it.

    It fails with the error that the condition names if what it waits for will not come any more, and with
    ``AirflowSensorTimeout`` if the wait times out: after ``timeout``, or, if deferrable, after the shorter
    of ``timeout`` and ``execution_timeout``. If deferrable, it looks once more when that has come, also where
    the triggerer was down then.

    Where a service asks to be left alone for a while (Retry-After), it is.

    :param bloq_conn_id: Id of the connection.
    :param deferrable: Whether to wait in the triggerer; by default what Airflow's
        ``[operators] default_deferrable`` says.
    :param max_consecutive_failures: Looks that may fail in a row, such as during an outage; one more fails
        the task. Each has been tried several times already.
    :param retry_policy: Which errors are worth another try of the task, and when. By default
        :class:`~airflow_provider_bloq.hooks.retries.BloqRetryPolicy`; None for none. Airflow 3.1 and
        3.2 know no such policies.
    :raises BloqConfigurationError: ``max_consecutive_failures`` is no number of looks.
    """

    template_fields: Sequence[str] = ("bloq_conn_id",)
    ui_color = "#d9e7f5"

    #: Seconds between two looks in reschedule mode, at least. The scheduler must have learnt by then that the
    #: process of the look before has ended, of which its supervisor tells it up to 5 s late.
    min_reschedule_interval: ClassVar[float] = 10.0
    operator_extra_links: Collection[BaseOperatorLink] = LINKS

    def __init__(
        self,
        *,
        bloq_conn_id: str = BloqHook.default_conn_name,
        deferrable: bool | None = None,
        max_consecutive_failures: int = 5,
        retry_policy: RetryPolicy | None = DEFAULT_POLICY,
        **kwargs: Any,
    ) -> None:
        super().__init__(**policy_argument(retry_policy), **kwargs)
        self.bloq_conn_id = bloq_conn_id
        if deferrable is None:
            deferrable = conf.getboolean("operators", "default_deferrable", fallback=False)
        self.deferrable = deferrable
        if self.reschedule and not deferrable:
            self.poke_interval = max(self.poke_interval, self.min_reschedule_interval)
        with raise_as_fail_exception():
            borne = untemplated(max_consecutive_failures)
            require_whole_number("max_consecutive_failures", borne, least=0)
        self.max_consecutive_failures: int = borne
        self._lookout: ConditionPoller | None = None

    @abstractmethod
    def condition(self) -> Condition:
        """Return what is waited for; called when the templates have been rendered.

        :raises BloqConfigurationError: The arguments name nothing that could be waited for.
        """

    @cached_property
    def hook(self) -> BloqHook:
        """The hook of the connection; made when the task runs."""
        warn_without_retry_policies(self.retries)
        return BloqHook(self.bloq_conn_id)

    def execute(self, context: Any) -> Any:
        """Wait.

        :return: What the condition tells when it holds.
        """
        self._lookout = None
        if self.deferrable:
            with self._skipping():
                return self._looked_or_deferred(context)
        try:
            return super().execute(context)
        except (AirflowSensorTimeout, AirflowSkipException):
            self._forget()
            raise

    def poke(self, context: Any) -> PokeReturnValue:
        """Look once.

        :return: Whether the condition holds, and what it tells then.
        """
        from airflow_provider_bloq.polling.conditions import Met

        try:
            verdict = self._look(context)
        except BloqError as error:
            # Airflow's own soft_fail knows AirflowFailException only.
            if self.soft_fail and not error.retryable:
                raise AirflowSkipException(f"Skipping, since soft_fail is set: {error}") from error
            raise
        if isinstance(verdict, Met):
            return PokeReturnValue(is_done=True, xcom_value=verdict.result)
        self.log.info("Waiting: %s", verdict.reason)
        return PokeReturnValue(is_done=False)

    def execute_complete(self, context: Any, event: Any = None) -> Any:
        """Go on when the trigger has ended.

        :param context: The task's context.
        :param event: What the trigger says.
        :return: What the condition told.
        """
        from airflow_provider_bloq.polling.serialization import result_of

        with self._skipping():
            try:
                return result_of(event)
            except BloqWaitTimeout as late:
                raise AirflowSensorTimeout(f"Timed out waiting: {late}") from None

    def _look(self, context: Any) -> Met | Waiting:
        from airflow_provider_bloq.polling.conditions import Failed

        with raise_as_fail_exception():
            verdict = self._lookout_of(context).look()
            if isinstance(verdict, Failed):
                raise verdict.error
        return verdict

    def _lookout_of(self, context: Any) -> ConditionPoller:
        if self._lookout is None:
            from airflow_provider_bloq.polling.on_worker import ConditionPoller

            in_turns = self.reschedule and not self.deferrable
            store = context.get("task_state_store") if in_turns else None
            if in_turns and store is None:
                warn_once(MissingFeature.POKE_STATE)
            self._lookout = ConditionPoller(
                self.hook,
                self.condition(),
                patience=self.max_consecutive_failures,
                deadline=time.time() + self._patience,
                store=store,
                try_number=context["ti"].try_number if store is not None else 0,
            )
        return self._lookout

    def _forget(self) -> None:
        if self._lookout is not None:
            self._lookout.forget()

    @property
    def _patience(self) -> float:
        """Seconds to wait at most."""
        limit = self.execution_timeout
        return self.timeout if limit is None else min(self.timeout, limit.total_seconds())

    def _looked_or_deferred(self, context: Any) -> Any:
        from airflow_provider_bloq.polling.conditions import Met

        started = time.time()
        verdict = self._look(context)
        if isinstance(verdict, Met):
            return verdict.result
        self.log.info("Waiting: %s", verdict.reason)
        deadline = started + self._patience
        if deadline <= time.time():
            raise AirflowSensorTimeout(f"Timed out waiting: {verdict.reason}")
        return self._defer(deadline, verdict, self._lookout_of(context).not_before)

    def _defer(self, deadline: float, verdict: Waiting, not_before: float) -> NoReturn:
        from airflow_provider_bloq.polling.serialization import condition_to_json
        from airflow_provider_bloq.triggers.wait import BloqWaitTrigger

        self.defer(
            trigger=BloqWaitTrigger(
                self.bloq_conn_id,
                condition_to_json(self.condition()),
                poll_interval=self.poke_interval,
                deadline=deadline,
                memory=verdict.memory,
                max_consecutive_failures=self.max_consecutive_failures,
                not_before=not_before or None,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=deadline - time.time() + BACKSTOP),
        )

    @contextmanager
    def _skipping(self) -> Iterator[None]:
        """Do by ``soft_fail`` and ``never_fail`` what the base class does in its other modes."""
        try:
            yield
        except AirflowSkipException:
            raise
        except (AirflowSensorTimeout, AirflowTaskTimeout, AirflowFailException) as failure:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(f"Skipping instead of failing: {failure}") from failure
            raise
        except Exception as failure:
            final = isinstance(failure, BloqError) and not failure.retryable
            if self.never_fail or (self.soft_fail and final):
                raise AirflowSkipException(f"Skipping instead of failing: {failure}") from failure
            raise


class BloqRpcSensor(BloqSensor):
    """A sensor that looks through the JSON-RPC of a node, cluster or URL.

    :param node: What ``BloqCreateNodeOperator`` returned, the id of a node or cluster, ``connect:<chain>`` for the
        JSON-RPC that Connect has for a chain, or a URL. A URL stands in Airflow's database while the task is
        deferred, so it must not hold a key.
    :param tls_fingerprint: SHA-256 fingerprint of the node's certificate, where ``node`` is only its id and
        the connection's ``node_fingerprints`` do not have it.
    :param port: The port, where it is not the usual one of the chain.
    :param path: The path, likewise.
    :param family: Whether it answers like Ethereum's nodes (``evm``) or Bitcoin's (``bitcoin``); only for a
        URL and for chains of which it is not known.
    """

    template_fields: Sequence[str] = (
        *BloqSensor.template_fields,
        "node",
        "tls_fingerprint",
        "port",
        "path",
        "family",
    )

    def __init__(
        self,
        *,
        node: str | Mapping[str, Any],
        tls_fingerprint: str | None = None,
        port: int | str | None = None,
        path: str | None = None,
        family: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.node = node
        self.tls_fingerprint = tls_fingerprint
        self.port = port
        self.path = path
        self.family = family

    @property
    def subject(self) -> RpcSubject:
        """Whose JSON-RPC is looked through, as conditions name it.

        :raises BloqConfigurationError: The arguments name nothing that has one.
        """
        from airflow_provider_bloq.chains.conditions import RpcSubject

        return RpcSubject.of(
            self.node,
            tls_fingerprint=self.tls_fingerprint,
            port=number_of(self.port),
            path=self.path,
            family=self.family,
        )
