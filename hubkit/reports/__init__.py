"""Pages for readers: one file for each, with all its pictures inside."""
