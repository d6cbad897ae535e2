"""A request's portrait, voice and prompt, read and prepared for the model."""
