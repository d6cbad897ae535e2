"""Frames and sound become an MP4, by ffmpeg."""
