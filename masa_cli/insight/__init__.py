"""What tracks tell: lifetimes, crossings of lines, the best views of each object, pictures."""
