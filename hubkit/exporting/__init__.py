"""Write models that run without hubkit."""
