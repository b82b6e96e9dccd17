"""Samples -> outputs. A model runs in a child process with limits, never in this one.

Only ``child.py`` imports onnxruntime, and nothing imports ``child.py``: it is started.
"""
