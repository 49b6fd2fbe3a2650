"""Instance normalisation with the residual sum and activation that follow it."""
