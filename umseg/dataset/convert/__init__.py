"""From other layouts of data to nnU-Net v2's raw format: the Medical Segmentation Decathlon, folders of instances."""
