"""Maps for rotations and reflections of space."""
