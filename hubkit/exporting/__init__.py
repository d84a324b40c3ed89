"""Write models for those who run them without hubkit."""
