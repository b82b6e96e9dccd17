"""What the integer inputs of a model index: tables that a random number may not reach beyond."""

from __future__ import annotations

from ..quantization import UnavailableError
from ..reading.edges import Network

_PASSED = frozenset("Cast Identity Reshape Unsqueeze Squeeze".split())
MAX_PASSED = 8


def find_gather_limits(network: Network) -> dict[str, int]:
    """Return for each input that a Gather takes as indices what they have to stay below."""
    found: dict[str, int] = {}
    for name, layer in network.layers.items():
        if layer.op_type not in ("Gather", "GatherBlockQuantized"):
            continue
        rows = _rows(network, name)
        source = _input_behind(network, name)
        if rows is not None and source is not None:
            found[source] = min(rows, found.get(source, rows))
    return found


def _rows(network: Network, layer: str) -> int | None:
    """Return how many entries the constant table of a Gather has along its axis."""
    try:
        source = network.constants.get(network.nodes[layer].inputs[0])
        shape = source.shape if source is not None else ()
    except UnavailableError:
        return None
    axis = network.layers[layer].attribute("axis", 0)
    return shape[axis] if -len(shape) <= axis < len(shape) else None


def _input_behind(network: Network, layer: str) -> str | None:
    """Return the input of the graph that a Gather's indices come from."""
    edge = network.edge(layer, 1)
    for _ in range(MAX_PASSED):
        if edge is None:
            return None
        maker = network.maker(edge.source)
        if maker is None:
            return edge.source.name if edge.source.is_graph_input() else None
        if network.layers[maker[0]].op_type not in _PASSED:
            return None
        edge = network.edge(maker[0], 0)
    return None
