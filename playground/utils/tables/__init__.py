"""Records and numbers -> pandas DataFrames, and the sentences that stand where there is no number.

A module for each part of the page. Cells are rounded for reading. Names come from a model and are
plain text: `text.to_html` escapes them.
"""

from . import findings, layers, overview, pairing, ranking, text, trials, weights

__all__ = ["findings", "layers", "overview", "pairing", "ranking", "text", "trials", "weights"]
