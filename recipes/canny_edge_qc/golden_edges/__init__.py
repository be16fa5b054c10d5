"""Edges of a textured surface, judged against those of good parts. Travels with the model."""
