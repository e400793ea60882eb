"""What tasks wait for: conditions on nodes, clusters and chains, decided without I/O."""
