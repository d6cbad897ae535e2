"""The model's files: fetched, verified, and made into what the engine maps into memory."""
