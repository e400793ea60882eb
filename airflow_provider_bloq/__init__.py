"""Apache Airflow provider for Bloq Cloud."""

__version__ = "0.1.0"
