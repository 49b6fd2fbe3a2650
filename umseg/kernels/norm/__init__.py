"""Instance normalisation with its activation and the residual sum before it."""
