"""Airflow's masking of secrets in logs, for blocking code and for the event loop."""

from __future__ import annotations

from functools import partial

__all__ = [
    "amask",
    "mask",
]


def mask(value: str) -> None:
    """Have a secret hidden in the logs of this process and of its supervisor."""
    from airflow.sdk.log import mask_secret

    mask_secret(value)


async def amask(value: str) -> None:
    """As :func:`mask`, without blocking the event loop or getting in the way of its other calls."""
    try:
        from airflow.sdk.log import amask_secret
    except ImportError:
        # Before Airflow 3.3 there is the blocking way only, which is safe in a thread.
        from airflow_provider_bloq.flow.threads import in_thread

        await in_thread(partial(mask, value))
    else:
        await amask_secret(value)
