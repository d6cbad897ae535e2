"""From the published files to one resident file per precision. The only part that needs torch."""
