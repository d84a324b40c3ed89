"""The door to the registry, and the steps of each change."""
