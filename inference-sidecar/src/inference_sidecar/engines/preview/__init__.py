"""The engine for machines without a GPU: makes a real portrait speak by warping it.

There is no generative model. Landmarks say where mouth, eyes and jaw are, the voice says how far
they move, and the portrait's own pixels are moved. Results are always labelled `preview`.
"""
