"""Read tables strictly: each row is what its file says, or an error names the place."""
