"""What several benchmarks share: data, turns, networks, figures of the machine, tables."""
