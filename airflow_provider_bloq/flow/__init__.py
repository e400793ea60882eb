"""Effects that the logic without I/O yields, and the drivers, sessions and retries that perform them."""
