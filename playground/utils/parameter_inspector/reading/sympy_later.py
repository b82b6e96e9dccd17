"""onnx_ir without sympy, which it imports to calculate with sizes that have no number yet.

Nobody here does, and sympy is a third to two thirds of the time in which a command starts.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class SympyLater(ModuleType):
    """Stands for sympy in onnx_ir, and imports it when something is asked of it.

    While onnx_ir is imported it only takes down functions of sympy by name, to call them later.
    """

    is_importing = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if not self.is_importing:
            return getattr(import_module("sympy"), name)

        def call_later(*args: Any, **named: Any) -> Any:
            return getattr(import_module("sympy"), name)(*args, **named)

        return call_later


def import_onnx_ir() -> None:
    """Import onnx_ir, and sympy when it is needed: at the first sum of two unknown sizes."""
    if "onnx_ir" in sys.modules or "sympy" in sys.modules:
        return
    stand_in = sys.modules["sympy"] = SympyLater("sympy")
    try:
        import_module("onnx_ir")
    except (AttributeError, TypeError):
        # A release that does more with sympy than name its functions: imported again, with it.
        for name in [name for name in sys.modules if name.partition(".")[0] == "onnx_ir"]:
            del sys.modules[name]
    finally:
        stand_in.is_importing = False
        del sys.modules["sympy"]
