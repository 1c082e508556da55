"""detectron2 models: configs of both kinds, levels, weights, and the hooks that put noise into them."""
