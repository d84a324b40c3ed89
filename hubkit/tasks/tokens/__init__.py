"""Tag the tokens of a text, and find the entities that the tags mark."""
