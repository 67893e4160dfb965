"""From images, and whatever is known of regions in them, to one file of regions."""
