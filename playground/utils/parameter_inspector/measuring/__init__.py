"""Weights -> numbers: sums, metrics, histograms and counts, gathered in a `Comparison`."""
