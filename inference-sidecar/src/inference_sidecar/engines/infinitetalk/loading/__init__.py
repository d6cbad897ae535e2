"""Start-up: weights onto the device, and the speed of real forwards."""
