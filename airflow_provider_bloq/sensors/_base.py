"""The base classes of all sensors: one condition, waited for in any of Airflow's three ways."""

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

from airflow_provider_bloq.arguments import number_of, require_whole_number, untemplated
from airflow_provider_bloq.exceptions import BloqError, BloqWaitTimeout
from airflow_provider_bloq.hooks._failures import raise_as_fail_exception
from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.retries import (
    DEFAULT_POLICY,
    MissingFeature,
    policy_argument,
    warn_once,
    warn_without_retry_policies,
)
from airflow_provider_bloq.operators.links import LINKS

if TYPE_CHECKING:
    from airflow.sdk import RetryPolicy

    from airflow_provider_bloq.chains.conditions import RpcSubject
    from airflow_provider_bloq.polling.conditions import Condition, Met, Waiting
    from airflow_provider_bloq.polling.on_worker import ConditionPoller

__all__ = [
    "BloqRpcSensor",
    "BloqSensor",
]

#: Seconds after the deadline until Airflow ends a deferred wait whose trigger has fired no event.
TRIGGER_GRACE = 60.0


class BloqSensor(BaseSensorOperator):
    """Waits for a condition. It decides by the same rules in all modes; a subclass only names the condition.

    - ``mode="poke"`` keeps the worker slot;
    - ``mode="reschedule"`` frees it between two pokes, each of which is a separate process. What a poke must
      remember is kept in Airflow's task state store. Before Airflow 3.3 there is none, and each poke starts
      anew, with the count of failures at zero. ``poke_interval`` is raised to at least 10 s: if the next poke
      begins too soon, Airflow may take the end of the previous one for a sudden death of the task
      (https://github.com/apache/airflow/issues/71172);
    - ``deferrable=True`` pokes once on the worker, then waits in the triggerer, where all tasks that wait for
      the same target share each poll. ``mode``, ``exponential_backoff`` and ``silent_fail`` have no effect.

    It fails with the condition's error if the condition can no longer be met, and with ``AirflowSensorTimeout``
    after ``timeout``; if deferrable, after the shorter of ``timeout`` and ``execution_timeout``. A deferred wait
    polls once more at its deadline, even if the triggerer was down then.

    A pause that a service asks for (Retry-After) is respected.

    :param bloq_conn_id: Id of the connection.
    :param deferrable: Whether to wait in the triggerer; by default as in Airflow's
        ``[operators] default_deferrable``.
    :param max_consecutive_failures: Failed pokes to tolerate in a row, such as during an outage; one more fails
        the task. The client has retried each of them already.
    :param retry_policy: Which errors are retried, and when. By default
        :class:`~airflow_provider_bloq.hooks.retries.BloqRetryPolicy`; None for none. Needs Airflow 3.3.
    :raises BloqConfigurationError: ``max_consecutive_failures`` is not a whole number.
    """

    template_fields: Sequence[str] = ("bloq_conn_id",)
    ui_color = "#d9e7f5"
    operator_extra_links: Collection[BaseOperatorLink] = LINKS

    #: Least ``poke_interval`` in reschedule mode. A supervisor reports up to 5 s late that its process has ended.
    min_reschedule_interval: ClassVar[float] = 10.0

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
            failures = untemplated(max_consecutive_failures)
            require_whole_number("max_consecutive_failures", failures, least=0)
        self.max_consecutive_failures: int = failures
        self._poller: ConditionPoller | None = None

    @abstractmethod
    def condition(self) -> Condition:
        """Return what to wait for; called after templates are rendered.

        :raises BloqConfigurationError: An argument is invalid.
        """

    @cached_property
    def hook(self) -> BloqHook:
        """The hook of the connection."""
        warn_without_retry_policies(self.retries)
        return BloqHook(self.bloq_conn_id)

    def execute(self, context: Any) -> Any:
        """Wait, and return the result of the condition."""
        self._poller = None
        if self.deferrable:
            with self._skip_on_failure():
                return self._poke_or_defer(context)
        try:
            return super().execute(context)
        except (AirflowSensorTimeout, AirflowSkipException):
            self._forget()
            raise

    def poke(self, context: Any) -> PokeReturnValue:
        """Poll the condition once."""
        from airflow_provider_bloq.polling.conditions import Met

        try:
            verdict = self._poll(context)
        except BloqError as error:
            # Airflow's own soft_fail covers AirflowFailException only.
            if self.soft_fail and not error.retryable:
                raise AirflowSkipException(f"Skipped because soft_fail is set: {error}") from error
            raise
        if isinstance(verdict, Met):
            return PokeReturnValue(is_done=True, xcom_value=verdict.result)
        self.log.info("Waiting: %s", verdict.reason)
        return PokeReturnValue(is_done=False)

    def execute_complete(self, context: Any, event: Any = None) -> Any:
        """Return the result of the condition, or raise its error, from the trigger's event."""
        from airflow_provider_bloq.polling.serialization import result_of

        with self._skip_on_failure():
            try:
                return result_of(event)
            except BloqWaitTimeout as timeout:
                raise AirflowSensorTimeout(f"Timed out waiting: {timeout}") from None

    def _poll(self, context: Any) -> Met | Waiting:
        from airflow_provider_bloq.polling.conditions import Failed

        with raise_as_fail_exception():
            verdict = self._poller_for(context).poll()
            if isinstance(verdict, Failed):
                raise verdict.error
        return verdict

    def _poller_for(self, context: Any) -> ConditionPoller:
        if self._poller is None:
            from airflow_provider_bloq.polling.on_worker import ConditionPoller

            is_rescheduled = self.reschedule and not self.deferrable
            store = context.get("task_state_store") if is_rescheduled else None
            if is_rescheduled and store is None:
                warn_once(MissingFeature.POKE_STATE)
            self._poller = ConditionPoller(
                self.hook,
                self.condition(),
                max_failures=self.max_consecutive_failures,
                deadline=time.time() + self._time_limit,
                store=store,
                try_number=context["ti"].try_number if store is not None else 0,
            )
        return self._poller

    def _forget(self) -> None:
        if self._poller is not None:
            self._poller.forget()

    @property
    def _time_limit(self) -> float:
        limit = self.execution_timeout
        return self.timeout if limit is None else min(self.timeout, limit.total_seconds())

    def _poke_or_defer(self, context: Any) -> Any:
        from airflow_provider_bloq.polling.conditions import Met

        started = time.time()
        verdict = self._poll(context)
        if isinstance(verdict, Met):
            return verdict.result
        self.log.info("Waiting: %s", verdict.reason)
        deadline = started + self._time_limit
        if deadline <= time.time():
            raise AirflowSensorTimeout(f"Timed out waiting: {verdict.reason}")
        return self._defer(deadline, verdict, self._poller_for(context).not_before)

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
            timeout=timedelta(seconds=deadline - time.time() + TRIGGER_GRACE),
        )

    @contextmanager
    def _skip_on_failure(self) -> Iterator[None]:
        """Apply ``soft_fail`` and ``never_fail`` to deferrable mode as the base class does to the other modes."""
        try:
            yield
        except AirflowSkipException:
            raise
        except (Exception, AirflowTaskTimeout) as error:
            final = isinstance(error, AirflowSensorTimeout | AirflowTaskTimeout | AirflowFailException) or (
                isinstance(error, BloqError) and not error.retryable
            )
            if self.never_fail or (self.soft_fail and final):
                raise AirflowSkipException(f"Skipped instead of failed: {error}") from error
            raise


class BloqRpcSensor(BloqSensor):
    """A sensor that polls the JSON-RPC of a node, cluster or URL.

    :param node: The result of ``BloqCreateNodeOperator``, the id of a node or cluster, ``connect:<chain>`` for
        Connect's JSON-RPC of a chain, or a URL. A URL must not contain a key, since it is in Airflow's database
        while the task is deferred.
    :param tls_fingerprint: SHA-256 fingerprint of the node's certificate, if ``node`` is only an id and the
        connection's ``node_fingerprints`` does not contain it.
    :param port: The port, if it is not the chain's default.
    :param path: The path, if it is not the chain's default.
    :param family: ``evm`` or ``bitcoin``, for a URL and for chains whose JSON-RPC dialect is not known.
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
        """The node, cluster or URL, in the form that conditions store.

        :raises BloqConfigurationError: An argument is invalid.
        """
        from airflow_provider_bloq.chains.conditions import RpcSubject

        return RpcSubject.of(
            self.node,
            tls_fingerprint=self.tls_fingerprint,
            port=number_of(self.port),
            path=self.path,
            family=self.family,
        )
