"""Commands that train, combine and run adapters."""
