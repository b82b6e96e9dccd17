"""Records and numbers -> pictures, a module for each kind of chart.

`plot_` draws on an Axes, `render_` makes what a page can show. Never pyplot and never rcParams: one
process serves several viewers, and both belong to the process.
"""

from .all_cores import draw_here, draw_on_all_cores
from .damage import render_damage
from .heatmap import (
    HeatmapLayout,
    create_click_axes,
    one_dwarfs_the_rest,
    page_variants,
    render_heatmap,
)
from .layer_charts import LAYER_CHARTS, Drawing, LayerChart
from .map_charts import MapLayout, create_map_click_axes, render_accuracy_map
from .output_charts import OUTPUT_CHARTS, OutputChart
from .plan_charts import render_measured_plan
from .spots import Spot
from .style import Picture, color_variants, pictures
from .trial_charts import render_trade_off, render_trial

__all__ = [
    "LAYER_CHARTS",
    "OUTPUT_CHARTS",
    "Drawing",
    "HeatmapLayout",
    "LayerChart",
    "MapLayout",
    "OutputChart",
    "Picture",
    "Spot",
    "color_variants",
    "create_click_axes",
    "create_map_click_axes",
    "draw_here",
    "draw_on_all_cores",
    "one_dwarfs_the_rest",
    "page_variants",
    "pictures",
    "render_accuracy_map",
    "render_damage",
    "render_heatmap",
    "render_measured_plan",
    "render_trade_off",
    "render_trial",
]
