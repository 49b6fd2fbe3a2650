"""Statistics of scores: descriptions, confidence intervals, paired tests, ranks and power. Pure functions of arrays."""
