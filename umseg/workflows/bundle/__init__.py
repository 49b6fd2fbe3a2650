"""Bundles: writing a model as one file, importing one, and publishing it on the hub with a card."""
