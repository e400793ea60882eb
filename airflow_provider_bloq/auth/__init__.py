"""Client keys, access tokens and the ladder that keeps them usable. Knows no Airflow and no HTTP library."""
