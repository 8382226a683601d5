"""What tests in several folders share."""

from helpers.problems import outputs, quiet, random_problem, relative
from helpers.processes import python, side_by_side

__all__ = ["outputs", "python", "quiet", "random_problem", "relative", "side_by_side"]
