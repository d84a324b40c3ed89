"""How good an adapter is on labelled rows, how sure that is, and whether another one is better."""
