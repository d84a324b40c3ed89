"""What a task type needs: columns, encoding, metrics, answers. One file each."""
