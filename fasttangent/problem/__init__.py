"""What is minimised: network, scaling, objective, and its curvature."""
