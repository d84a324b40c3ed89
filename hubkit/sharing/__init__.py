"""Publish and pull: folders, hubs, other registries."""
