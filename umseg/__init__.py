"""umseg: self-configuring biomedical image segmentation with hybrid CNN-SSM U-Nets.

The four verbs of the command line from Python::

    workspace = umseg.plan("Dataset004_Hippocampus")
    fold = umseg.train(workspace, umseg.TrainingConfig(model="umamba_bot"))
    label_map = umseg.Predictor(fold.parent).predict(image, spacing)
    scores = umseg.evaluate("predictions", "references")
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
