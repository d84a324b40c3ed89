"""What a check compares rows with: manifests, the log, and the bytes of lists of files."""
