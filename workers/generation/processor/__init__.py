"""What makes a step quick on a processor: packed weights, and loops compiled for it."""
