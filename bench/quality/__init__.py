"""How good the regressor is, beside what one would use instead; see QUALITY_PROTOCOL.md."""
