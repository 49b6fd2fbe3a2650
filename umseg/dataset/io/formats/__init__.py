"""The file formats that umseg reads and writes: one class for each, in a file of its own.

The classes (in ``nifti``, ``tiff``, ``dicom``, ...) are entered in the table of ``umseg.dataset.io.registry``. They
import the modules that need a format's library (``nifti.voxels``, ``tiff.pages``, ``dicom.series``) only when a file is
opened.
"""
