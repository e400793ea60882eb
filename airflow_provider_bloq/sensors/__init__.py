"""Airflow sensors that wait for nodes, clusters and chains."""
