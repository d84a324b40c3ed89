"""Two-way tables between foreign folders and hubkit's sites, one file for each format."""
