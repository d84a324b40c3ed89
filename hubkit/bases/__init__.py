"""Which base model it is: found, loaded, described, compared."""
