"""What every room of projections builds on, and the maps that serve any group."""
