"""The operators of ONNX that take the place of torch's and umseg's, one file per kind."""
