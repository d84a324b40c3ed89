"""Write models for who runs them without hubkit."""
