"""What every room stands on: the wire's models, errors, logs, traces, processes."""
