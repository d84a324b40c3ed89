"""Adapter methods as data: where their deltas are and what each computes. Loads no torch."""
