"""The `infinitetalk` engine: the 14B model, resident, chunk by chunk. Torch stays in here."""
