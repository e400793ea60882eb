"""Checks of a connection, stage by stage, and what to do about what they find."""
