"""The DICOM format: a folder with the slices of one series is one image."""
