"""Records and numbers -> pictures, a module for each part of the page.

`plot_` draws on an Axes, `render_` makes what a page can show. Never pyplot and never rcParams: one
process serves several viewers, and both belong to the process.
"""

from . import channel_charts, code_charts, heatmap, panels, style, trial_charts, weight_charts

__all__ = [
    "channel_charts",
    "code_charts",
    "heatmap",
    "panels",
    "style",
    "trial_charts",
    "weight_charts",
]
