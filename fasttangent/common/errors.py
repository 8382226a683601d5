"""What goes wrong, by name."""


class DivergenceError(ValueError):
    """Training ran away with the learning rate it was given: the parameters are of no use, so none are returned."""


class UntrustedTangentWarning(UserWarning):
    """A score was computed from a tangent whose certificate says that it is not to be trusted."""


class ModelFileError(ValueError):
    """A file is not a readable model: truncated, foreign, or written by a newer version."""


class IndefiniteError(ValueError):
    """A system is not positive definite, so its parameters are at no minimum and its solution is no response."""


class CampaignError(ValueError):
    """A campaign of active learning cannot go on as it is: in use, changed, damaged, or in doubt about a label."""
