"""The render process and its parent: orders in, frames out, and what survives a death."""
