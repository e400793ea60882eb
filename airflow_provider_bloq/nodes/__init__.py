"""The Nodes service: nodes and clusters."""
