"""The handlers of the API, one file for each group of routes of `registry.server.table`."""
