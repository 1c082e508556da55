"""COCO-format annotation files: what a valid one holds, and what is wrong with an invalid one."""
