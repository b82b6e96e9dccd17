"""Records and numbers -> pictures, a module for each part of the page.

`plot_` draws on an Axes, `render_` makes what a page can show. Never pyplot and never rcParams: one
process serves several viewers, and both belong to the process.
"""

from . import channels, codes, heatmap, page, style, trials, weights

__all__ = ["channels", "codes", "heatmap", "page", "style", "trials", "weights"]
