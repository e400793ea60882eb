"""Airflow triggers: tasks that wait in the triggerer, where all that wait for the same thing look together."""
