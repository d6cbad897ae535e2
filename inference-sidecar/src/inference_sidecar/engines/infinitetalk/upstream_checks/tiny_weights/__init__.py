"""Tiny random weights of every model in the published layout, for tests and parity.

Names and shapes are spelled out here instead of being derived from our models or upstream's, so
that neither is only compared with itself.
"""
