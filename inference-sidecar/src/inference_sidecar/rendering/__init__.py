"""The render process and its parent: orders in, videos out, and resuming after a crash."""
