"""What numba could not compile, said so that the author of a `decide` knows where, what, and what to write instead.

numba reports in the terms of its own stages, some constructs without a line and some only as a KeyError. Here
each becomes one `KernelError`: the file and line (the notebook and cell it was exported from), the construct,
the mend. Imported only when a compilation failed, or has just taken place; a start from the cache never comes here.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import os
import re
import textwrap
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from polytraders.engine import state
from polytraders.errors import KernelError

RULE = "a decide is compiled: numbers, records, arrays, tuples, if, for, and @inline functions of its own module"
ARGUMENTS = {
    "intel": "market, position, account, ladder, params",
    "disc": "market, position, account, ladder, params",
    "strat": "market, position, account, ladder, memory, targets, params",
    "risk": "intent, market, position, account, ladder, vote, params",
    "exec": "intent, market, position, account, ladder, plan, params",
}
"""Family -> what its `decide` takes."""
RECORDS = {name: getattr(state, name.upper()) for name in ("market", "position", "account", "intent", "vote", "plan")}
RECORDS |= {"params": state.PARAMS, "targets": state.INTENT}
"""Argument -> fields of the record it is (of targets: of each of them)."""
RETURN = "return np.int64(Code.…) with a reason code, on every way through"
TEXT = "compare and count numbers; give each word a constant"
LOOP = "write it as a for loop over the array with a running result"


class Place(NamedTuple):
    """A line of source."""

    file: str
    line: int

    def __str__(self) -> str:
        """file:line and where that is in the notebook; for a cell that is not exported yet, its line in the cell."""
        path = Path(self.file)
        if not path.exists() or "ipykernel" in self.file:
            return f"this notebook cell, line {self.line}"
        lines = path.read_text(encoding="utf-8").splitlines()
        for above in range(min(self.line, len(lines)), 0, -1):
            if cell := re.match(r"# %% (\S+\.ipynb) #(\w+)", lines[above - 1]):
                notebook = (path.parent / cell[1]).resolve()
                inner = self.line - above + 1  # the header takes the place of `#| export`
                return f"{_near(path)}:{self.line} ({_near(notebook)}, cell {cell[2]}, line {inner})"
        return f"{_near(path)}:{self.line}"

    @property
    def source(self) -> str:
        return linecache.getline(self.file, self.line).strip()


def _near(path: Path) -> str:
    """The path from the working folder if it lies in it, else as it is."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def explained(function: Callable[..., Any], error: Exception, family: str) -> KernelError:
    """The message for a `decide` of that family that numba refused with `error`."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    place = _place_said(text, error)
    for pattern, explain in _EXPLANATIONS:
        if (found := re.search(pattern, f"{type(error).__name__}: {text}", re.DOTALL)) is not None:
            what, mend, better = explain(function, found, family)
            return _refusal(what, mend, better or place or _start(function))
    first = next((line for line in text.splitlines() if line.strip() and not line.startswith("Failed in ")), "")
    mend = "find the part it is about by leaving parts out; POLYTRADERS_JIT=0 runs it uncompiled"
    return _refusal(f"numba says {type(error).__name__}: {first[:200]}", mend, place or _start(function))


def wrong_return(function: Callable[..., Any], compiled: Any) -> KernelError | None:
    """The message when a freshly compiled `decide` returns a float or a bool, which would be cut to a whole number."""
    from numba.core import ir, types

    (result,) = compiled.overloads.values()
    notes = result.type_annotation
    if not hasattr(notes, "typemap"):  # came from the cache
        return None
    made = {s.target.name: s for block in notes.blocks.values() for s in block.body if isinstance(s, ir.Assign)}
    for cast in made.values():
        if isinstance(cast.value, ir.Expr) and cast.value.op == "cast":
            kind = notes.typemap[cast.value.value.name]
            if isinstance(kind, (types.Float, types.Boolean)):
                name = "a float" if isinstance(kind, types.Float) else "true or false"
                return _refusal(
                    f"decide returns {name}, no reason code", RETURN, Place(cast.loc.filename, cast.loc.line)
                )
    return None


def _refusal(what: str, mend: str, place: Place) -> KernelError:
    line = f", in `{place.source}`" if place.source else ""
    return KernelError(what + line, where=str(place), rule=RULE, mend=mend)


# -- where ---------------------------------------------------------------------------------------------------


def _place_said(text: str, error: Exception) -> Place | None:
    """The place numba names: the innermost that is not numba's own, which it names first."""
    for pattern in (r'File "([^"\n]+)", line (\d+)', r"Raised from (\S+) \((\d+)\)", r" at (\S+\.py) \((\d+)\)"):
        for file, line in re.findall(pattern, text):
            if "site-packages" not in file:
                return Place(file if file.startswith("<") else os.path.abspath(file), int(line))
    loc = getattr(error, "loc", None)
    return Place(loc.filename, loc.line) if loc is not None else None


def _start(function: Callable[..., Any]) -> Place:
    """Where the function begins: its `def`."""
    lines, first = inspect.getsourcelines(function)
    skipped = next((i for i, line in enumerate(lines) if line.lstrip().startswith("def ")), 0)
    return Place(function.__code__.co_filename, first + skipped)


def _sources(function: Callable[..., Any]) -> Iterator[tuple[Callable[..., Any], ast.AST]]:
    """The function and, after it, the compiled helpers it calls, each with its syntax tree."""
    waiting, seen = [function], set()
    while waiting:
        current = waiting.pop(0)
        seen.add(current)
        try:
            lines, first = inspect.getsourcelines(current)
        except OSError:
            continue
        tree = ast.increment_lineno(ast.parse(textwrap.dedent("".join(lines))), first - 1)
        yield current, tree
        for name in (node.id for node in ast.walk(tree) if isinstance(node, ast.Name)):
            helper = getattr(current.__globals__.get(name), "py_func", None)
            if helper is not None and helper not in seen and helper not in waiting:
                waiting.append(helper)


def _first(function: Callable[..., Any], fits: Callable[[ast.AST], bool]) -> tuple[Place, ast.AST] | None:
    """The first part of the function, or of a helper, that fits."""
    for current, tree in _sources(function):
        for node in ast.walk(tree):
            if fits(node) and hasattr(node, "lineno"):
                return Place(current.__code__.co_filename, node.lineno), node
    return None


def _place_of(function: Callable[..., Any], *kinds: type[ast.AST]) -> Place | None:
    found = _first(function, lambda node: isinstance(node, kinds))
    return found[0] if found else None


# -- what ----------------------------------------------------------------------------------------------------

Explanation = tuple[str, str, Place | None]
"""What it is, what to write instead, and a better place than numba's if there is one."""
Explain = Callable[[Callable[..., Any], re.Match, str], Explanation]


def _say(what: str, mend: str, *kinds: type[ast.AST]) -> Explain:
    """An explanation in fixed words; {1}, {2} stand for what the pattern found. `kinds`: the syntax to point at."""

    def explain(function: Callable[..., Any], found: re.Match, family: str) -> Explanation:
        words = (found[0], *(group or "" for group in found.groups()))
        return what.format(*words), mend.format(*words), _place_of(function, *kinds) if kinds else None

    return explain


def _no_field(function: Callable[..., Any], found: re.Match, family: str) -> Explanation:
    """A field that the record does not have, with the nearest that it has."""
    field = found["field"]

    def reads(node: ast.AST) -> bool:
        item = isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and node.slice.value == field
        return item or (isinstance(node, ast.Attribute) and node.attr == field)

    place, node = _first(function, reads) or (None, None)
    base = getattr(node, "value", None)
    base = base.value if isinstance(base, ast.Subscript) else base
    name = getattr(base, "id", "the record")
    fields = RECORDS[name].names if name in RECORDS else [f for d in dict.fromkeys(RECORDS.values()) for f in d.names]
    if name == "params":
        mend = f'a parameter is params.v[K], with K = SPEC.index("{field}") above decide'
    elif near := get_close_matches(field, dict.fromkeys(fields), n=4, cutoff=0.5):
        mend = f"nearest: {', '.join(near)}"
    else:
        mend = f"its fields: {', '.join(fields)}" if name in RECORDS else "polytraders/engine/state.py lists the fields"
    return f"{name} has no field {field}", mend, place


def _outer_name(function: Callable[..., Any], found: re.Match, family: str) -> Explanation:
    """A name from outside that is no number: by what it is."""
    name, kind = found[1], found[2]
    own = getattr(function.__globals__.get(name), "__module__", "") == function.__module__
    compiled = f"put @inline above `def {name}` (from polytraders.engine.jit import inline)"
    say = {
        "function": (
            f"calls {name}, a plain Python function",
            compiled if own else "call it above decide and keep what it gives as a constant",
        ),
        "builtin_function_or_method": (f"{name}() has no compiled form", LOOP),
        "type": (
            f"makes an object of {name}",
            "keep its numbers in local variables, or between decisions in memory[…]",
        ),
        "dict": (f"reads the dict {name}", "give each key a constant of its own, or index a tuple by number"),
    }
    other = (f"reads {name}, a Python {kind}", "only numbers, tuples of numbers and arrays can be read from outside")
    return *say.get(kind, other), None


def _unknown_name(function: Callable[..., Any], found: re.Match, family: str) -> Explanation:
    near = get_close_matches(found[1], function.__globals__, n=2, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{found[1]} is not defined", hint + "what decide uses stands above it, in an exported cell", None


def _opcode(function: Callable[..., Any], found: re.Match, family: str) -> Explanation:
    """A statement that has no compiled form."""
    what, mend = next(
        (words for start, words in _OPCODES.items() if found[1].startswith(start)),
        (f"a statement numba has no form of ({found[1]})", "write it with if, for and numbers"),
    )
    return what, mend, None


_OPCODES = {
    "STORE_GLOBAL": ("assigns a global", "keep it in memory[…], which is this market's own between decisions"),
    "IMPORT": ("imports inside decide", "import at the top, in an exported cell"),
    "UNPACK_EX": ("unpacks with *", "take the parts by index"),
    "MATCH": ("uses match on classes or sequences", "use if / elif on numbers"),
    "SETUP_WITH": ("uses with", "decide has no I/O; do it outside"),
}

_FORBIDDEN_MODULES = {
    "time": "the time is market.now, ns",
    "datetime": "the time is market.now, ns",
    "numpy.random": "chance has no place in a decision; a backtest must repeat",
    "random": "chance has no place in a decision; a backtest must repeat",
}


def _module(function: Callable[..., Any], found: re.Match, family: str) -> Explanation:
    mend = _FORBIDDEN_MODULES.get(found[2], f"compute it outside and hand it in as a parameter, or {LOOP}")
    return f"{found[2]}.{found[1]} has no compiled form", mend, None


def _records_in_a_list(function: Callable[..., Any], found: re.Match, family: str) -> Explanation:
    def collects(node: ast.AST) -> bool:
        sorts = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "sorted"
        return sorts or isinstance(node, (ast.ListComp, ast.List))

    place, _ = _first(function, collects) or (None, None)
    return "collects records in a list", "loop: `for k in range(len(targets)): t = targets[k]`", place


def _linear_algebra(function: Callable[..., Any], found: re.Match, family: str) -> Explanation:
    def numpy(node: ast.AST) -> bool:
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        return called and ast.unparse(node.func).startswith(("np.", "numpy.")) and "int" not in node.func.attr

    place, node = _first(function, numpy) or (None, None)
    name = ast.unparse(node.func) if isinstance(node, ast.Call) else "it"
    return f"{name} has no compiled form here: it needs linear algebra", LOOP, place


def _unknown_code(function: Callable[..., Any], found: re.Match, family: str) -> Explanation:
    """A member that an enum does not have: mostly a reason code."""
    enum = function.__globals__.get(found[2])
    near = get_close_matches(found[1], getattr(enum, "__members__", ()), n=3, cutoff=0.6)
    new = "; a new code is added in nbs/01_reasons.ipynb" if found[2] == "Code" else ""
    return f"{found[2]} has no {found[1]}", f"nearest: {', '.join(near) or 'none'}{new}", None


def _two_kinds(function: Callable[..., Any], found: re.Match, family: str) -> Explanation:
    kinds = " and ".join(_kind(found[i]) for i in (1, 2))
    return f"{found[3].split('.')[0]} is of two kinds: {kinds}", "use two names, one for each kind", None


def _kind(text: str) -> str:
    """numba's name of a type, for people."""
    bare = text.removeprefix("unaligned ").removeprefix("Literal[").lower()
    return next((word for start, word in _KINDS.items() if bare.startswith(start)), text)


_KINDS = {
    "str": "text",
    "unicode": "text",
    "array": "an array",
    "record": "a record",
    "tuple": "a tuple",
    "unituple": "a tuple",
    "none": "nothing",
    "optional": "sometimes nothing",
    "float": "a float",
    "bool": "true or false",
    "int": "a whole number",
    "list": "a list",
    "reflected list": "a list",
    "dict": "a dict",
}
"""How numba's name of a type begins -> what a person calls it."""


def _call(function: Callable[..., Any], found: re.Match, family: str) -> Explanation:
    """A function that exists, called in a way that does not."""
    name, tail = found["name"], found.string[found.end() :]
    if (extra := re.search(r"unexpected keyword argument '(\w+)'", tail)) is not None:
        return f"{name} takes no {extra[1]}= in compiled code", f"leave it out, or {LOOP}", None
    if re.search(r">>> .*(unicode_type|Literal\[str\])", tail):
        return f"{name} works on text", TEXT, None
    return f"{name} cannot be called with these", f"check its arguments, or {LOOP}", None


def _bad_return(function: Callable[..., Any], found: re.Match, family: str) -> Explanation:
    if found[1] == "none":
        missing = _place_of(function, ast.Yield) is None
        return ("decide can end without a return" if missing else "decide yields"), RETURN, _start(function)
    return f"decide returns {_kind(found[1])}, no reason code", RETURN, None


def _arguments(function: Callable[..., Any], found: re.Match, family: str) -> Explanation:
    what = f"decide takes {function.__code__.co_argcount} arguments"
    return what, f"a {family} bot's is: def decide({ARGUMENTS[family]})", _start(function)


_EXPLANATIONS: tuple[tuple[str, Explain], ...] = (
    (r"Signature mismatch", _arguments),
    (r"^KeyError: (?P<field>\w+)$", _no_field),
    (r"Field '(?P<field>\w+)' was not found in record", _no_field),
    (r"No conversion from (.+?) to int64 for '\$\w*return_value", _bad_return),
    (
        r"[Ee]xception_match|Exception matching",
        _say("uses except", "test first: `if market.tick == 0: return …`; nothing in a decide raises", ast.Try),
    ),
    (r"The 'with ", _say("uses with", "decide has no I/O; do it outside", ast.With)),
    (r"unsupported opcode \((\w+)\)", _opcode),
    (r"yield in a closure", _say("uses a generator expression", LOOP, ast.GeneratorExp)),
    (r"load_from_data_pointer", _records_in_a_list),
    (r"format spec in f-strings", _say("formats text", TEXT)),
    (r"linear algebra|BLAS|LAPACK", _linear_algebra),
    (r"runaway recursion", _say("calls itself", LOOP)),
    (
        r"Cannot infer the type of variable '(\w+)\S*', have imprecise type: (list|Dict|set)",
        _say("{1} starts empty, so its kind is unknown", "keep a running number, or use cells of memory[…]"),
    ),
    (r"Untyped global name '(\w+)'.*?<class '([\w.]+)'>", _outer_name),
    (
        r"reflected (\w+)\(.*?assigned to variable '(\w+)'",
        _say("reads the {1} {2} from outside", "make it a tuple: {2} = (…)"),
    ),
    (r"unsupported NumPy function 'numpy\.([\w.]+)'", _say("np.{1} has no compiled form", LOOP)),
    (r"Unknown attribute '(\w+)' of type Module\(<module '([\w.]+)'", _module),
    (r"Unknown attribute '(\w+)' of type Int(?:Enum|Flag) class<\w+>\((\w+)\)", _unknown_code),
    (r"Unknown attribute '(\w+)' of type (?:Literal\[str\]|unicode_type)", _say("works on text (.{1})", TEXT)),
    (r"NameError: name '(\w+)' is not defined", _unknown_name),
    (r"Cannot unify (.+?) and (.+?) for '([\w.]+)'", _two_kinds),
    (r"Illegal IR, del found", _say("uses del", "let the name stand; it costs nothing")),
    (
        r"Cannot cast (Literal\[str\]|unicode_type)",
        _say("puts text where a number belongs", "write its number or enum"),
    ),
    (r"No implementation of function Function\(<(?:built-in )?(?:function|ufunc) '?(?P<name>\w+)", _call),
    (
        r"Cannot bind|missing a required argument|too many positional",
        _say("calls a function with other arguments than it takes", "count them against its def"),
    ),
)
"""Pattern in numba's message -> explanation. The first that fits is taken."""
