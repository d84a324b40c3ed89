"""Commands that keep a registry whole."""
