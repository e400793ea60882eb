"""What chains tell of themselves: head, sync, transactions; read by flows, for all families of chains alike."""
