"""A fusion, and the adapter of its own task that may stand among what it fuses."""
