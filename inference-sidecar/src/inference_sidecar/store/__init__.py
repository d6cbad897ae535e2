"""The worker's disk and its transfers: inputs, unfinished work, spool, health file."""
