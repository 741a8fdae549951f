"""Maps on sets of points, whose order does not matter."""
