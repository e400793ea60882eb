"""How requests are sent: with ``requests``, or on an event loop with ``aiohttp``."""
