"""The alignment core: images against references at all rotations and shifts, on rings."""
