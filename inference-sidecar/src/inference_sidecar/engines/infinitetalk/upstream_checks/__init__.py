"""Checks against upstream only: parity, replay, and tiny weights to run both sides with."""
