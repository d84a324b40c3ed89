"""Commands that find adapters and tell what is known of them."""
