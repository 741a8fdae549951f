"""Maps for any finite group, and for cyclic ones."""
