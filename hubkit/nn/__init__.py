"""The mathematics: deltas, sites, fusion, and how they enter a frozen model."""
