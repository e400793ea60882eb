"""JSON-RPC of nodes and clusters."""
