"""What only checks us against upstream: parity, replay, and tiny weights to run both with."""
