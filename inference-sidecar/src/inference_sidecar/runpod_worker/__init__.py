"""A worker on an endpoint of RunPod: its loop around the sidecar. Only here its SDK is imported."""
