"""What the user asked for, as data; and from there to files."""
