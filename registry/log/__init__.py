"""Who did what: a hash-chained log, and its entries as files."""
