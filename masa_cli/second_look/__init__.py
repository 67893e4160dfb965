"""The second look at a whole video, after the first pass: from its tracklets to its tracks."""
