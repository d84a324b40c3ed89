"""What each route does, in a file a group of them; `registry.server.table` lists them."""
