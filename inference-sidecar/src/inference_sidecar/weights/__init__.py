"""The model's files: fetching, verifying, and preparing them for the engine."""
