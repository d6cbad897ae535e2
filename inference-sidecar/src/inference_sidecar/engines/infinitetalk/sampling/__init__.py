"""The denoising loop: noise to frames, window by window, and what it needs of the models."""
