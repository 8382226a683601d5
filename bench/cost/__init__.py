"""What scoring, settling and carrying a tangent cost, without peers."""
