"""The engine for machines without a GPU: makes a real portrait speak by warping it.

There is no generative model. Landmarks locate mouth, eyes and jaw, the voice decides how far they
move, and the portrait's own pixels are warped. Results are always labelled `preview`.
"""
