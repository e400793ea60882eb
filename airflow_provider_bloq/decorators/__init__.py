"""``@task.bloq``: a function as a task that is handed a hook."""
