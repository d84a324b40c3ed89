"""The tables of a registry's database, and what is read from them and written to them."""
