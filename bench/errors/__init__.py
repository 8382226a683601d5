"""Which rows the model is wrong about, and by how much."""
