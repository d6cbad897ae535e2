"""What one worker does with jobs: claims them, renders them, reports them, uploads them."""
