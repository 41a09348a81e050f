"""The single changes to try on a Python file: each must be noticed by a test.

Texts that people read (messages, docstrings, annotations) are left alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

#: What a comparison becomes: its edge moved, and its opposite.
COMPARISONS: dict[type[ast.cmpop], tuple[str, ...]] = {
    ast.Lt: ("<=", ">="),
    ast.LtE: ("<", ">"),
    ast.Gt: (">=", "<="),
    ast.GtE: (">", "<"),
    ast.Eq: ("!=",),
    ast.NotEq: ("==",),
    ast.Is: ("is not",),
    ast.IsNot: ("is",),
    ast.In: ("not in",),
    ast.NotIn: ("in",),
}
ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.Pow: "*",
    ast.BitAnd: "|",
    ast.BitOr: "&",
    ast.BitXor: "&",
}
NAMES = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "minimum": "maximum",
    "maximum": "minimum",
    "floor": "ceil",
    "ceil": "floor",
}


@dataclass(frozen=True)
class Change:
    """Text of a file from ``start`` to ``stop`` replaced by ``new``; ``scope`` is the function
    or class that it is in, "" for the module's own lines."""

    file: str
    scope: str
    line: int
    lines: range  #: those of the statement that it is in, without what that contains
    start: int
    stop: int
    old: str
    new: str
    before: str  #: the whole line as it is, or the first of several
    after: str  #: the same with the change

    def apply(self, source: str) -> str:
        return source[: self.start] + self.new + source[self.stop :]


def changes(file: str, source: str) -> list[Change]:
    """Every change to try, in the order of the file, none twice."""
    visitor = _Visitor(file, source)
    visitor.visit(ast.parse(source))
    found = {(c.start, c.stop, c.new): c for c in visitor.found}
    return sorted(found.values(), key=lambda c: (c.start, c.stop, c.new))


class _Visitor(ast.NodeVisitor):
    def __init__(self, file: str, source: str) -> None:
        self.file, self.source = file, source
        self.found: list[Change] = []
        self._scope: list[str] = []
        self._statement = range(0)
        self._lines = source.splitlines(keepends=True)
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line))

    def visit(self, node: ast.AST) -> None:
        outer = self._statement
        if isinstance(node, ast.stmt):
            self._statement = own_lines(node)
        super().visit(node)
        self._statement = outer

    # -- places ----------------------------------------------------------------------------------

    def _offset(self, line: int, column: int) -> int:
        """Of a place as ast gives it: the column counts bytes."""
        text = self._lines[line - 1]
        return self._starts[line - 1] + len(text.encode()[:column].decode())

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return (
            self._offset(node.lineno, node.col_offset),
            self._offset(node.end_lineno, node.end_col_offset),
        )

    def _add(self, start: int, stop: int, new: str) -> None:
        line = self.source.count("\n", 0, start)
        rest = self.source[stop : self.source.find("\n", stop)]
        first = self._starts[line]
        change = Change(
            file=self.file,
            scope=".".join(self._scope),
            line=line + 1,
            lines=self._statement,
            start=start,
            stop=stop,
            old=self.source[start:stop],
            new=new,
            before=_one_line(self.source[first:stop] + rest),
            after=_one_line(self.source[first:start] + new + rest),
        )
        self.found.append(change)

    def _replace(self, node: ast.expr | ast.stmt, new: str) -> None:
        self._add(*self._span(node), new)

    def _text(self, node: ast.expr) -> str:
        start, stop = self._span(node)
        return self.source[start:stop]

    def _between(self, left: ast.expr, right: ast.expr, old: str, new: str) -> None:
        """Replace the operator between two operands, which brackets may surround."""
        start, stop = self._span(left)[1], self._span(right)[0]
        at = self.source.find(old, start, stop)
        if at >= 0:
            self._add(at, at + len(old), new)

    # -- what is left alone ----------------------------------------------------------------------

    def visit_Raise(self, node: ast.Raise) -> None:
        """A message may say what it likes."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """What is worded for people."""

    def visit_Import(self, node: ast.Import) -> None:
        """Nothing to change."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Nothing to change."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)

    def visit_arguments(self, node: ast.arguments) -> None:
        for default in (*node.defaults, *filter(None, node.kw_defaults)):
            self.visit(default)

    # -- where a change lies ---------------------------------------------------------------------

    def _visit_scope(self, node: ast.FunctionDef | ast.ClassDef) -> None:
        self._scope.append(node.name)
        if isinstance(node, ast.FunctionDef):
            self.visit(node.args)
        for statement in node.body:
            self.visit(statement)
        self._scope.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._visit_scope(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_scope(node)

    # -- the changes -----------------------------------------------------------------------------

    def visit_Compare(self, node: ast.Compare) -> None:
        left = node.left
        for operator, right in zip(node.ops, node.comparators, strict=True):
            for new in COMPARISONS[type(operator)]:
                self._between(left, right, _SYMBOLS[type(operator)], new)
            left = right
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        new = ARITHMETIC.get(type(node.op))
        if new is not None and not _is_type(node):
            self._between(node.left, node.right, _SYMBOLS[type(node.op)], new)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        new = ARITHMETIC.get(type(node.op))
        if new is not None:
            self._between(node.target, node.value, _SYMBOLS[type(node.op)] + "=", new + "=")
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, right, old, new)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.Not):
            self._replace(node, f"({self._text(node.operand)})")
        elif isinstance(node.op, (ast.USub, ast.Invert)):
            self._replace(node, self._text(node.operand))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool):
            self._replace(node, str(not value))
        elif isinstance(value, int):
            self._replace(node, str(value + 1))
        elif isinstance(value, float):
            self._replace(node, repr(value * 1.5) if value else "1.0")

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in NAMES and isinstance(node.ctx, ast.Load):
            self._replace(node, NAMES[node.id])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in NAMES:
            stop = self._span(node)[1]
            self._add(stop - len(node.attr), stop, NAMES[node.attr])
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is None:
            return
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self._replace(node.value, "None")
        self.visit(node.value)

    def visit_Expr(self, node: ast.Expr) -> None:
        """A call for its effect is left out; a docstring stays."""
        if isinstance(node.value, (ast.Call, ast.Await)):
            self._replace(node, "pass")
        if not isinstance(node.value, ast.Constant):
            self.visit(node.value)

    def visit_Continue(self, node: ast.Continue) -> None:
        self._replace(node, "break")

    def visit_Break(self, node: ast.Break) -> None:
        self._replace(node, "continue")

    def _negate(self, test: ast.expr) -> None:
        """A comparison has an opposite of its own, and ``not`` is taken away elsewhere."""
        single = isinstance(test, ast.Compare) and len(test.ops) == 1
        if not single and not isinstance(test, ast.UnaryOp):
            self._replace(test, f"(not ({self._text(test)}))")

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        self._negate(node.test)
        self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._negate(node.test)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self._negate(test)
        self.generic_visit(node)


_SYMBOLS: dict[type[ast.AST], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
}


def own_lines(statement: ast.stmt) -> range:
    """Of ``if`` and the like only the head."""
    body = getattr(statement, "body", None)
    last = body[0].lineno - 1 if body else statement.end_lineno or statement.lineno
    return range(statement.lineno, max(last, statement.lineno) + 1)


def _is_type(node: ast.BinOp) -> bool:
    """``int | None`` in an alias is no arithmetic."""
    return isinstance(node.op, ast.BitOr) and any(
        isinstance(side, ast.Constant) and side.value is None for side in (node.left, node.right)
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def in_words(change: Change) -> Iterator[str]:
    """The change as a diff of one line."""
    yield f"{change.file}:{change.line} {change.scope}".rstrip()
    yield f"  - {change.before}"
    yield f"  + {change.after}"
