"""The choice of the best model by cross-validation: candidates, pairs of models, and post-processing."""
