"""The messages that the source can make: every template of an error, a problem or a remark.

Read from the syntax tree, with `{name}` where a value goes. What an expression is put together from
(a choice between two texts, a local name, a function of the same file) is followed as far as one
file goes. `python tests/message_templates.py` lists what the catalogue lacks.
"""

from __future__ import annotations

import ast
import itertools
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "headstart"

# what calls tell a person: positions and keywords of their arguments
TOLD: dict[str, tuple[int | str, ...]] = {
    **dict.fromkeys(
        ("InputError", "CheckpointError", "MachineError", "NumericError", "Interrupted"), (0,)
    ),
    "note": (0,),
    "problem": ("message", "fix"),
    "Fault": (2, 3),
    "Finding": (1, 3),
    "_bad": (1,),
    "_demand": (1,),
    "_not_followed": (1,),
    "_refuse": (1,),
    "demand": ("what",),
    "refused": (1, 2),
}
BEFORE = {"_bad": "{source} "}  # what a call puts before a text
# files whose ValueErrors become part of the message about refused settings
OF_SETTINGS = re.compile(r"(config|settings|sections|budget)\.py$")
WRAPPERS = {"shown", "quoted", "str", "map", "sorted", "len", "list", "round", "max", "redact"}
HOLE = re.compile(r"(?<!\{)\{\w*\}(?!\})")
FOLLOWED = 6  # names and functions, one from another


def bare(text: str) -> str:
    """A template with nameless holes, neighbours as one, and no blanks around it."""
    return re.sub(r"(\{\})+", "{}", HOLE.sub("{}", text)).strip()


def has_words(text: str) -> bool:
    """Whether anything is left to translate once holes and names of settings are taken out."""
    return re.search(r"[A-Za-z]{2}", HOLE.sub("", text)) is not None


@dataclass(frozen=True)
class Template:
    """One text with holes, and where it stands. piece: whether it only stands within others."""

    place: str
    text: str
    piece: bool

    @property
    def bare(self) -> str:
        """The text with nameless holes."""
        return bare(self.text)


@dataclass
class File:
    """One source file, and the pieces that were met while following its texts."""

    path: Path
    tree: ast.Module
    functions: dict[str, ast.FunctionDef]
    pieces: set[tuple[int, str]] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path) -> File:
        """Parse it."""
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        return cls(path, tree, found)

    @property
    def name(self) -> str:
        """As messages of the tests call it."""
        return self.path.relative_to(SOURCE).as_posix()

    def required(self) -> Iterator[Template]:
        """What a person can meet of this file: messages, and pieces they are put together from."""
        for scope in ast.walk(self.tree):
            if isinstance(scope, ast.FunctionDef):
                for node in ast.walk(scope):
                    if isinstance(node, ast.Call):
                        yield from self._told(node, scope)
        for line, text in sorted(self.pieces):
            if " " in text.strip():
                yield Template(f"{self.name}:{line}", text, piece=True)

    def literals(self) -> Iterator[str]:
        """Every text in the file's expressions, with nameless holes."""
        nowhere = ast.Module([], [])  # names stay holes
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
                yield from map(bare, self.texts(node, nowhere))
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield bare(node.value)  # which may be a template itself

    def _told(self, call: ast.Call, scope: ast.AST) -> Iterator[Template]:
        name = call.func.id if isinstance(call.func, ast.Name) else ""
        name = call.func.attr if isinstance(call.func, ast.Attribute) else name
        wanted = TOLD.get(name, ())
        if name == "ValueError" and OF_SETTINGS.search(self.path.name):
            wanted = (0,)
        given: list[ast.expr] = [k.value for k in call.keywords if k.arg in wanted]
        given += [call.args[n] for n in wanted if isinstance(n, int) and n < len(call.args)]
        for node in given:
            for text in self.texts(node, scope):
                if " " in text:
                    whole = BEFORE.get(name, "") + text
                    yield Template(f"{self.name}:{node.lineno}", whole, piece=False)

    def texts(self, node: ast.expr, scope: ast.AST, depth: int = 0) -> list[str]:
        """Every text that the expression can be; none where it is a value from elsewhere."""
        if depth > FOLLOWED:
            return []
        match node:
            case ast.Constant(value=str(value)):
                return [value.replace("{", "{{").replace("}", "}}")]
            case ast.JoinedStr(values=values):
                return ["".join(self._part(value, scope, depth) for value in values)]
            case ast.BinOp(op=ast.Add(), left=left, right=right):
                sides = [self._or_hole(side, scope, depth + 1) for side in (left, right)]
                return ["".join(pair) for pair in itertools.product(*sides)]
            case ast.Call(func=ast.Attribute(attr="join"), args=[inner]):
                found = self.texts(inner, scope, depth + 1)
                self.pieces |= {(inner.lineno, text) for text in found}
                return []
            case _:
                made = self._made_of(node, scope)
                return [text for one, at in made for text in self.texts(one, at, depth + 1)]

    def _made_of(self, node: ast.expr, scope: ast.AST) -> Iterator[tuple[ast.expr, ast.AST]]:
        """The expressions, each with its scope, one of which a node has the value of."""
        match node:
            case ast.IfExp(body=body, orelse=orelse):
                yield from ((body, scope), (orelse, scope))
            case ast.BoolOp(values=values):
                yield from ((value, scope) for value in values)
            case ast.Name(id=name):
                yield from ((value, scope) for value in _assigned(scope, name))
            case ast.Call(func=ast.Name(id=name)) if name in self.functions:
                inner = self.functions[name]
                for one in ast.walk(inner):
                    if isinstance(one, ast.Return) and one.value:
                        yield one.value, inner
            case ast.GeneratorExp(elt=element) | ast.ListComp(elt=element):
                yield element, scope
            case ast.Call(func=ast.Name(id="str"), args=[inner]):
                yield inner, scope

    def _or_hole(self, node: ast.expr, scope: ast.AST, depth: int) -> list[str]:
        if isinstance(node, ast.IfExp):
            chosen = (node.body, node.orelse)
            return [text for one in chosen for text in self._or_hole(one, scope, depth + 1)]
        return self.texts(node, scope, depth) or [self._hole(node, scope, depth)]

    def _part(self, value: ast.expr, scope: ast.AST, depth: int) -> str:
        if isinstance(value, ast.FormattedValue):
            return self._hole(value.value, scope, depth)
        return self.texts(value, scope, depth)[0]

    def _hole(self, value: ast.expr, scope: ast.AST, depth: int) -> str:
        self.pieces |= {(value.lineno, text) for text in self.texts(value, scope, depth + 1)}
        return "{" + _name(value) + "}"


def _assigned(scope: ast.AST, name: str) -> Iterator[ast.expr]:
    """What is assigned to a name within a function."""
    for node in ast.walk(scope):
        match node:
            case ast.AugAssign(target=ast.Name(id=found), value=value) if found == name:
                yield value
            case ast.NamedExpr(target=ast.Name(id=found), value=value) if found == name:
                yield value
            case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                yield value
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                for each, value in zip(names, values, strict=False):
                    if isinstance(each, ast.Name) and each.id == name:
                        yield value


def _name(node: ast.expr) -> str:  # noqa: PLR0911 - a table
    """A short name for a value."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name.strip("_").lower()
        case ast.Subscript(value=inner) | ast.Starred(value=inner) | ast.BinOp(left=inner):
            return _name(inner)
        case ast.Call(func=ast.Attribute(attr="join"), args=[ast.GeneratorExp(generators=[one])]):
            return _name(one.iter)
        case ast.Call(func=ast.Attribute(attr="join"), args=[inner]):
            return _name(inner)
        case ast.Call(func=ast.Name(id=name), args=[*_, last]):
            return _name(last) if name in WRAPPERS else name.strip("_")
        case ast.Call(func=ast.Attribute(value=inner)):
            return _name(inner)
        case ast.IfExp(body=ast.Constant(value="s")):
            return "s"
        case _:
            return "it"


def files() -> list[File]:
    """All files of the package."""
    return [File.read(path) for path in sorted(SOURCE.rglob("*.py"))]


def required() -> Iterator[Template]:
    """What a person can meet and what has words, of all files."""
    yield from (one for file in files() for one in file.required() if has_words(one.text))


def missing(known: set[str]) -> Iterator[Template]:
    """What the catalogue lacks, each once. known: its templates with nameless holes."""
    seen = set(known)
    for one in required():
        if one.bare not in seen:
            seen.add(one.bare)
            yield one


if __name__ == "__main__":
    sys.path.insert(0, str(SOURCE.parent))
    from headstart.messages import catalogue

    for one in missing({bare(english) for english in catalogue()}):
        print(f"{one.place}: {one.text}")
