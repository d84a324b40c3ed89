"""Commands that publish, name, and bring adapters from one place to another."""
