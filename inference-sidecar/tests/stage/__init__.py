"""What an integration test plays with: broker, store, orchestrator, sidecar."""
