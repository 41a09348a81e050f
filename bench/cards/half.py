"""An ONNX file in float16, by ONNX Runtime's converter, also where graphs lie inside of nodes.

The converter looks values up by their names alone, so that those of two branches of an `If` must
not be called alike; it puts every cast into the outermost graph, at its end; and its sort knows
nothing of what a branch or a loop takes from outside. What is done here makes up for these three.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.cards.bodies import all_graphs, bodies
from bench.cards.large import is_large, save, with_shapes


def write_float16(source: Path, target: Path) -> None:
    """Every float32 becomes float16, but for the inputs and outputs."""
    import onnx  # onnx: start-up
    from onnxruntime.transformers.float16 import convert_float_to_float16  # an extra

    large = is_large(source)
    whole = with_shapes(source, target.parent) if large else onnx.load(str(source))
    _name_apart(whole.graph)
    model = convert_float_to_float16(whole, keep_io_types=True, disable_shape_infer=large)
    _move_casts(model.graph)
    for graph in all_graphs(model.graph):
        _sort(graph)
    save(model, target)


def _defined(graph: Any) -> list[str]:
    """What has a value in the graph itself: inputs, weights, what its nodes give."""
    names = [value.name for value in (*graph.input, *graph.initializer)]
    names += [name for node in graph.node for name in node.output if name]
    return list(dict.fromkeys(names))


def _name_apart(graph: Any) -> None:
    """Give inner values that are called like one of another graph a name of their own."""
    taken = set(_defined(graph))
    for node in graph.node:
        for inner in bodies(node):
            _rename(inner, {}, taken)


def _rename(graph: Any, outer: Mapping[str, str], taken: set[str]) -> None:
    """``outer`` maps what surrounds the graph to its new names; all that is ``taken`` is left."""
    own: dict[str, str] = {}
    for name in _defined(graph):
        number = 1
        own[name] = name
        while own[name] in taken:
            number += 1
            own[name] = f"{name}__{number}"
        taken.add(own[name])
    names = {**outer, **own}
    for value in (*graph.input, *graph.initializer, *graph.value_info, *graph.output):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in bodies(node):
            _rename(inner, names, taken)


def _move_casts(graph: Any) -> None:
    """Put each cast into the graph whose value it casts."""
    home = {name: inner for inner in all_graphs(graph) for name in _defined(inner)}
    stay: list[Any] = []
    leave: list[Any] = []
    for node in graph.node:
        strayed = node.op_type == "Cast" and home.get(node.input[0], graph) is not graph
        (leave if strayed else stay).append(node)
    for node in leave:
        home[node.input[0]].node.append(node)
    _replace(graph, stay)


def _sort(graph: Any) -> None:
    """Nodes behind all that gives what they, or the graphs inside them, take; else as they are."""
    giver = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
    wants = [{giver[name] for name in _taken(node) if name in giver} for node in graph.node]
    order: dict[int, None] = {}
    waiting = list(range(len(wants)))
    while waiting:
        ready = [place for place in waiting if wants[place] <= order.keys()]
        if not ready:  # a circle: the checker says so
            ready = waiting
        order |= dict.fromkeys(ready)
        waiting = [place for place in waiting if place not in order]
    _replace(graph, [graph.node[place] for place in order])


def _taken(node: Any) -> Iterator[str]:
    """What a node and the graphs inside it take, in part from further inside."""
    yield from node.input
    for inner in bodies(node):
        yield from (value.name for value in inner.output)
        for part in inner.node:
            yield from _taken(part)


def _replace(graph: Any, nodes: list[Any]) -> None:
    copies = []
    for node in nodes:
        copy = type(node)()
        copy.CopyFrom(node)
        copies.append(copy)
    del graph.node[:]
    graph.node.extend(copies)
