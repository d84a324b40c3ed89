"""Who uses a registry that is served as a hub, and what each of them may do."""
