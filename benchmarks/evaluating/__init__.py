"""The parts of the benchmark ``evaluate``: generated data, and one function for each side that is measured."""
