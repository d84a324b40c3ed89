"""Task types for images."""
