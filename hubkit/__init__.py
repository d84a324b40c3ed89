"""hubkit."""
