"""Have Airflow's own notifiers tell what the errors of Bloq know: which kind, whether it may pass, what to do.

The mail goes through the connection smtp_default. Any other notifier, such as Slack's, is used the same way.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.smtp.notifications.smtp import SmtpNotifier
from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference, Param, dag

from airflow_provider_bloq.exceptions import BloqClientKeysRejected, BloqNotFound, BloqQuotaExceeded
from airflow_provider_bloq.hooks.notifications import summary_of
from airflow_provider_bloq.operators.nodes import BloqGetNodeOperator, BloqListNodesOperator

SENDER, ON_CALL, OWNER = "airflow@example.com", "on-call@example.com", "owner-of-bloq@example.com"

#: ``summary_of`` is a macro of the DAG, below. ``exception`` is Airflow's: none where a worker was lost.
SUBJECT = "{{ ti.task_id }}: {{ summary_of(exception).error or 'lost its worker' }}"
BODY = """
{% set told = summary_of(exception) %}
<p>{{ ti.dag_id }}, run {{ run_id }}: {{ told.message | e }}</p>
<p>{{ {True: 'It may pass by itself.', False: 'Somebody has to act.'}.get(told.retryable, '') }}</p>
{% if told.fields.get('request_id') %}<p>Id of the request: {{ told.fields.request_id | e }}</p>{% endif %}
"""


def tell_who_can_help(context: Any) -> None:
    """Write to the owner of the account about keys and quota, to those on call about all else."""
    ours = isinstance(context.get("exception"), BloqClientKeysRejected | BloqQuotaExceeded)
    mail = SmtpNotifier(to=OWNER if ours else ON_CALL, from_email=SENDER, subject=SUBJECT, html_content=BODY)
    mail(context)


def tell_of_a_lost_node(context: Any) -> None:
    """Write only if the node is gone, and not about what is tried again."""
    if isinstance(context.get("exception"), BloqNotFound):
        tell_who_can_help(context)


@dag(
    schedule=None,
    catchup=False,
    tags=["bloq", "example"],
    params={"node": Param("node-that-is-gone", type="string", description="Id of a node")},
    user_defined_macros={"summary_of": summary_of},
    # Sent by the triggerer, asynchronously, whatever the tasks are at; so there is no error to tell of.
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=1),
        callback=AsyncCallback(
            SmtpNotifier,
            kwargs={
                "to": ON_CALL,
                "from_email": SENDER,
                "subject": "bloq_notify takes longer than an hour",
                "html_content": "<p>It was queued an hour ago, and is not done.</p>",
            },
        ),
    ),
)
def bloq_notify() -> None:
    """List the nodes, read one of them; mail what goes wrong."""
    stock = BloqListNodesOperator(task_id="list_nodes", on_failure_callback=tell_who_can_help)
    read = BloqGetNodeOperator(
        task_id="read_node",
        node="{{ params.node }}",
        on_failure_callback=[
            SmtpNotifier(to=ON_CALL, from_email=SENDER, subject=SUBJECT, html_content=BODY),
            tell_of_a_lost_node,
        ],
    )
    stock >> read


bloq_notify()
