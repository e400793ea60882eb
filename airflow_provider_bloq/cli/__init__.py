"""``airflow bloq``: check a connection and look at what it leads to, from a shell."""
