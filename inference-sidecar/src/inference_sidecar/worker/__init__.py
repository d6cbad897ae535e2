"""What one worker does with jobs: it asks for them, renders them, reports and uploads."""
