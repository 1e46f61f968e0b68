"""A batch of movies in one job: reading, motion, CTF and quality, movie by movie."""
