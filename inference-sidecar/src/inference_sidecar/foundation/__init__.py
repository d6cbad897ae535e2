"""What every room uses: wire models, settings, errors, logs, traces, tasks, processes."""
