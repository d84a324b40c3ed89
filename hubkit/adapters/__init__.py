"""Adapters and fusions as values: made, attached, saved and loaded."""
