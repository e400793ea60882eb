"""Airflow hooks: from a connection to clients that authenticate themselves."""
