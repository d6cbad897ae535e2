"""Text, image, voice and video codec, from maintained libraries."""
