"""The settings of a ``bloq`` connection: read from its parts, judged, and frozen."""
