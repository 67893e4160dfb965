"""What tracks tell: lifetimes, crossings, the best views."""
