"""Tests of what DICOM objects of a segmentation are made of."""
