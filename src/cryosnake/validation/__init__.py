"""Maps and class averages against each other: how far a map can be trusted, and which one."""
