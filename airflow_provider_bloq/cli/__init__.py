"""``airflow bloq``: check a connection, list nodes and call them from a shell."""
