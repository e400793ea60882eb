"""What all operators of this provider have in common."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator, BaseOperatorLink

from airflow_provider_bloq.hooks.bloq import BloqHook
from airflow_provider_bloq.hooks.retry_policy import DEFAULT_POLICY, policy_argument, tell_if_missing
from airflow_provider_bloq.operators.links import LINKS

if TYPE_CHECKING:
    from airflow.sdk import RetryPolicy

__all__ = ["BloqOperator"]


class BloqOperator(BaseOperator):
    """An operator that acts through one ``bloq`` connection.

    :param bloq_conn_id: Id of the connection.
    :param retry_policy: Which errors are worth another try, and when. By default
        :class:`~airflow_provider_bloq.hooks.retry_policy.BloqRetryPolicy`; None for none. Airflow 3.1 and
        3.2 know no such policies.
    """

    template_fields: Sequence[str] = ("bloq_conn_id",)
    ui_color = "#d9e7f5"
    operator_extra_links: Collection[BaseOperatorLink] = LINKS

    def __init__(
        self,
        *,
        bloq_conn_id: str = BloqHook.default_conn_name,
        retry_policy: RetryPolicy | None = DEFAULT_POLICY,
        **kwargs: Any,
    ) -> None:
        super().__init__(**policy_argument(retry_policy), **kwargs)
        self.bloq_conn_id = bloq_conn_id

    @cached_property
    def hook(self) -> BloqHook:
        """The hook of the connection; made when the task runs."""
        tell_if_missing(self.retries)
        return BloqHook(self.bloq_conn_id)
