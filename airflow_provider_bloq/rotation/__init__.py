"""Rotation of client keys: a machine whose steps survive the death of the worker between any two."""
