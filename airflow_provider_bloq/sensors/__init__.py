"""Airflow sensors: tasks that wait for nodes, clusters and chains."""
