"""What the log says of histories: done again, and compared with the rows."""
