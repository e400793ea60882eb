"""Assets with the scheme ``bloq``: what a chain brings, as something that schedules DAGs."""
