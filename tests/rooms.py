"""Who imports whom in `bench`: read from the source, imports inside functions included."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

#: The folders of the repository and the packages that they are installed as (pyproject.toml).
PACKAGES = {"bench": "bench", "backends": "bench.backends", "models": "bench.models"}
ROOT = "bench"  #: the room of the files that lie in bench/ itself


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name, and its room (the folder below bench/)."""

    name: str
    room: str
    path: Path


@dataclass(frozen=True)
class Edge:
    """One import: the module that says it, the module that it names, and the line."""

    importer: Module
    imported: Module
    line: int

    def __str__(self) -> str:
        return f"{self.importer.name} imports {self.imported.name} (line {self.line})"


def modules(repository: Path) -> dict[str, Module]:
    """Every module of ours by its dotted name."""
    found = {}
    for folder, package in PACKAGES.items():
        for path in sorted((repository / folder).rglob("*.py")):
            parts = path.relative_to(repository / folder).with_suffix("").parts
            own_room = parts[0] if folder == ROOT and len(parts) > 1 else folder
            name = ".".join([package, *(part for part in parts if part != "__init__")])
            found[name] = Module(name, own_room, path)
    return found


def edges(repository: Path) -> list[Edge]:
    """Every import of one of our modules by another."""
    known = modules(repository)
    return [
        Edge(importer, known[imported], line)
        for importer in known.values()
        for imported, line in _imports(ast.parse(importer.path.read_text("utf-8")), known)
        if imported != importer.name
    ]


def _imports(tree: ast.Module, known: Mapping[str, Module]) -> Iterator[tuple[str, int]]:
    """The modules that a source names in imports or to `importlib.import_module`.

    ``from bench.stats import rank`` names ``bench.stats.rank``, a module; ``from bench.cell import
    Cell`` names ``bench.cell``. There are no relative imports here (ruff: TID252).
    """
    for node in ast.walk(tree):
        for name in _named(node):
            target = name if name in known else name.rpartition(".")[0]
            if target in known:
                yield target, getattr(node, "lineno", 0)


def _named(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module is not None:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        function = node.func
        named = (
            function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        )
        return [str(node.args[0].value)] if named in ("import_module", "__import__") else []
    return []


def silent_imports(text: str) -> list[int]:
    """The lines of imports inside functions that no comment explains: neither on the import, nor on
    one of those directly above it, which it then belongs to."""
    lines = text.splitlines()
    inside = {
        child.lineno: child.end_lineno or child.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for child in ast.walk(node)
        if isinstance(child, (ast.Import, ast.ImportFrom))
    }
    found, explained_to = [], 0
    for first, last in sorted(inside.items()):
        own = any("#" in line for line in lines[first - 1 : last])
        if own or explained_to == first - 1:
            explained_to = last
        else:
            found.append(first)
    return found


def forbidden(
    found: list[Edge], allowed: Mapping[str, set[str]], exceptions: set[tuple[str, str]]
) -> list[Edge]:
    """The edges between rooms that ``allowed`` does not hold, but for ``exceptions``.

    ``allowed`` maps a room to what it may import: rooms (``stats``), folders in them and files
    (``cards/tasks``, ``machine/facts``).
    """
    return [
        edge
        for edge in found
        if edge.importer.room != edge.imported.room
        and not any(_holds(place, edge.imported) for place in allowed[edge.importer.room])
        and (edge.importer.name, edge.imported.name) not in exceptions
    ]


def _holds(place: str, module: Module) -> bool:
    if "/" not in place:
        return module.room == place
    dotted = f"bench.{place.replace('/', '.')}"
    return module.name == dotted or module.name.startswith(f"{dotted}.")


def circles(found: list[Edge]) -> list[list[str]]:
    """Modules that import each other in a loop: the strongly connected components of two and more
    (Tarjan 1972, SIAM J. Comput. 1(2))."""
    imports: dict[str, set[str]] = {}
    for edge in found:
        imports.setdefault(edge.importer.name, set()).add(edge.imported.name)
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    components: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in sorted(imports.get(name, ())):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            start = stack.index(name)
            components.append(sorted(stack[start:]))
            del stack[start:]

    for name in sorted(imports):
        if name not in order:
            visit(name)
    return [component for component in components if len(component) > 1]
