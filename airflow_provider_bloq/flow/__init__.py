"""Flows and what runs them: effects, drivers, sessions, retries and the rate limit."""
