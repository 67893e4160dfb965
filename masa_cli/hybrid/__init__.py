"""Tracking by motion and appearance together: `tracker` tells the story, the rest its parts."""
