"""Predictions beyond a list of texts: for files of any size, and of many adapters at once."""
