"""The inference sidecar: holds an engine, renders one job at a time, and reports its work."""
