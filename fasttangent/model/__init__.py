"""From labelled rows to a trained model, its tangents, its certificate and its scores."""
