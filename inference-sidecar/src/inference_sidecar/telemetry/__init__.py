"""What the worker tells of its work to those who watch it: spans, and what its GPUs do."""
