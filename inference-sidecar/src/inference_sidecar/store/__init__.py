"""The worker's disk and its transfers: inputs, unfinished work, the spool."""
