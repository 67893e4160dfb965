"""Learning to match anything from plain images (spec section 10): two views of each, no labels."""
