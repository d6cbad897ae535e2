"""The inference sidecar: holds an engine, renders one job at a time, reports what it does."""
