"""Task types of language models: those whose outputs are words. One file each."""
