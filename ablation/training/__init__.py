"""Training: detectron2's loop with noise, checkpoints, validation loss, and several devices."""
