"""What is written beside a label map: statistics, pictures, colours, DICOM."""
