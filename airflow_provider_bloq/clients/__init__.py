"""The endpoints of Bloq Cloud, retries and typed errors. Knows no Airflow."""
