"""What a fusion is worth: it is compared with what is cheaper, and with random donors."""
