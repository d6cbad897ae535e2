"""Makes resident files from the published ones. The only command that needs torch."""
