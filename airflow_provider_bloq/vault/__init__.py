"""Client keys that live in HashiCorp Vault or OpenBao, read through Airflow's Vault connection."""
