"""The tables of a registry's database, and the functions that read and write them."""
