"""The pages that people read, a file an idea."""
