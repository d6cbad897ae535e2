"""What the InfiniteTalk engine costs on one GPU, with true shapes and random weights."""
