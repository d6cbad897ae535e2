"""The engines, and the one protocol that they share."""
