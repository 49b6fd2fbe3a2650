"""The networks, one file per family; ``umseg.architectures.registry`` lists them."""
