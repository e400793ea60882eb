"""The decorator ``@task.bloq``."""
