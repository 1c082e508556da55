"""`python -m ablation.preview`: one image with and without noise."""
