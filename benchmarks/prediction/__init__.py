"""The parts of the benchmark ``predict``: each measures one promise of prediction."""
