"""Neural networks: the only place, with training and detectors, that knows torch."""
