"""Assets with ``bloq://`` URIs."""
