"""Training: detectron2's loop with noise, checkpoints, validation losses and several devices."""
