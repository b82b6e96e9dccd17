"""Why a model cannot be written with a change."""


class RewriteError(ValueError):
    """Why a model cannot be written with that change, in one sentence."""
