"""Commands for whoever serves a registry as a hub."""
