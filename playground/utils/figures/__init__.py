"""Records and numbers -> pictures, a module for each kind of chart.

`plot_` draws on an Axes, `render_` makes what a page can show. Never pyplot and never rcParams: one
process serves several viewers, and both belong to the process.
"""

from .heatmap import HeatmapLayout, create_click_axes, page_variants, render_heatmap
from .layer_charts import LAYER_CHARTS, LayerChart
from .output_charts import OUTPUT_CHARTS, OutputChart
from .style import Picture, color_variants, pictures
from .trial_charts import render_trade_off, render_trial

__all__ = [
    "LAYER_CHARTS",
    "OUTPUT_CHARTS",
    "HeatmapLayout",
    "LayerChart",
    "OutputChart",
    "Picture",
    "color_variants",
    "create_click_axes",
    "page_variants",
    "pictures",
    "render_heatmap",
    "render_trade_off",
    "render_trial",
]
