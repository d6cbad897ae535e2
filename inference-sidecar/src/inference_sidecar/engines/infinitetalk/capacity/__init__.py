"""Whether a render fits the device's memory, and how much arithmetic it takes."""
