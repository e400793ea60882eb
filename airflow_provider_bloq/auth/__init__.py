"""Access tokens: where they come from, how long they are used, and whom they are shown."""
