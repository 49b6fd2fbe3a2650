"""What DICOM objects of a segmentation are made of: the series that was segmented, common modules, contours."""
