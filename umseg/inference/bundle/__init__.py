"""Bundles: one file that holds a trained model and all that is known of it, read as if anybody had written it."""
