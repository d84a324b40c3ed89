"""Commands to serve a registry as a hub."""
