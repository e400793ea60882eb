"""Access tokens: how they are obtained, renewed, shared and sent."""
