"""Which published adapters are worth fusing for new data."""
