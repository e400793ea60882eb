"""The Connect service: REST API and stream for Bitcoin and Bitcoin Cash, JSON-RPC for Ethereum-like chains."""
