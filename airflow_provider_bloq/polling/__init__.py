"""Polls that many waiting tasks share, the conditions that they wait for, and watchers of chains."""
