"""Reads weights in the layout they are published in."""
