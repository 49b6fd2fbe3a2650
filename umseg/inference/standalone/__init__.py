"""Prediction with a converted model that needs numpy only, and onnxruntime for the network.

``umseg export --onnx`` copies this folder beside the networks, so that they run where umseg and torch are not
installed. Its modules therefore import nothing of umseg, and each other relatively. They compute what umseg computes:

    metadata = Metadata.from_json(session.get_modelmeta().custom_metadata_map["umseg"])
    data, properties = preprocess(image, spacing, metadata)
    logits = sliding_window(network, data, metadata)
    label_map = postprocess(logits, properties, metadata)

Arrays are (channels, z, y, x), spacings mm per voxel along z, y, x.
"""

from .metadata import Metadata, PredictionError
from .postprocess import postprocess
from .preprocess import Properties, preprocess
from .windows import sliding_window

__all__ = ["Metadata", "PredictionError", "Properties", "postprocess", "preprocess", "sliding_window"]
