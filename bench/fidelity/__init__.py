"""How far scores and solvers are from exact influence and from refitting."""
