"""The text, image and voice encoders and the video codec, built on maintained libraries."""
