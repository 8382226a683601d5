"""Exact curvature and influence beside the packages that have them."""
