"""Blocks, transactions, transfers and logs of a chain, as read from a node."""
