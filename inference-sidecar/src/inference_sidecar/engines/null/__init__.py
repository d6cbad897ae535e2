"""An engine that draws moving bars: real chunks at a given pace, and every failure on demand."""
