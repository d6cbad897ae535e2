"""Files of weights: the published layout with its tensor names, and our resident files."""
