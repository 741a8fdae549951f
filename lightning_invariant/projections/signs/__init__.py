"""Maps for numbers, or eigenvectors, whose signs do not matter."""
