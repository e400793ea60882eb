"""An Airflow connection as validated settings, and its form."""
