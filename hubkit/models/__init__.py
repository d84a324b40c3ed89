"""What is done to a transformers model: attach, insert, freeze, merge."""
