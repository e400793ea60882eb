"""Airflow triggers: deferred waits, and watchers of chains."""
