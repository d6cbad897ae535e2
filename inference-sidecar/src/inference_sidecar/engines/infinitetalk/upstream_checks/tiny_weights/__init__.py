"""Random weights of every part, tiny, in the published layout: for tests and parity.

Names and shapes are written out here and not taken from our models or upstream's, so that neither
can agree with itself.
"""
