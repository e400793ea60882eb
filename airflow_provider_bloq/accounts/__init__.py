"""The Accounts service: tokens, client keys and their rotation."""
