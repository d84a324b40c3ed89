"""The database: its tables and sessions, and what is read from them and written to them."""
