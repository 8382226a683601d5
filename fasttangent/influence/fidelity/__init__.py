"""Cheap scores beside exact ones and refits."""
