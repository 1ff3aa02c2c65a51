"""The rules that no single module can keep: who may import whom, what a step may touch, what stands in the tree."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from repository import ROOT, files, notebooks

PACKAGE = ROOT / "polytraders"
GENERATED = {"polytraders", "polytraders._modidx"}  # the package itself and nbdev's index import nothing of ours


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in files() if path.suffix == ".py" and PACKAGE in path.parents}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(path: Path, module: str = "") -> Iterator[tuple[str, int]]:
    """(module, line) of every import of a file, at module level, inside functions and for type checkers alike."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(filter(None, (base, node.module)))
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield (inner if inner in MODULES else base), node.lineno


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


# -- imports run one way -----------------------------------------------------------------------------------

LAYERS = (
    ("errors", "units", "rows", "contracts", "reasons"),
    ("bots", "config"),
    ("engine",),
    ("intel", "discovery", "strategies", "risk", "execution", "security", "governance"),
    ("data", "store"),
    ("venue",),
    ("run",),
    ("research", "report"),
    ("api", "cli"),
)
LAYER = {part: number for number, layer in enumerate(LAYERS) for part in layer}

RUNS_BACK: dict[tuple[str, str], str] = {}
"""(module, imported) -> why this one may run back. The first entry needs a very good reason."""


def ours(module: str) -> Iterator[tuple[str, int]]:
    for name, line in imports(MODULES[module], module):
        if name.startswith("polytraders."):
            yield name, line


@pytest.mark.parametrize("module", sorted(MODULES.keys() - GENERATED))
def test_imports_run_one_way(module: str):
    part = module.split(".")[1]
    assert part in LAYER, f"{part} has no place in the order of imports: give it one in LAYERS"
    back = [
        f"{place(MODULES[module], line)} imports {name}"
        for name, line in ours(module)
        if LAYER[name.split(".")[1]] > LAYER[part] and (module, name) not in RUNS_BACK
    ]
    assert not back, "\n".join(back)


def test_every_import_that_may_run_back_still_does():
    there = {(module, name) for module in MODULES.keys() - GENERATED for name, _ in ours(module)}
    assert RUNS_BACK.keys() <= there


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: {name for name, _ in ours(module)} & MODULES.keys() for module in MODULES.keys() - GENERATED}
    while free := {module for module, needs in graph.items() if not needs & graph.keys()}:
        graph = {module: needs for module, needs in graph.items() if module not in free}
    assert not graph, f"a circle runs through {sorted(graph)}"


def test_a_bot_does_not_know_another_bot():
    """Families meet in the step; a kernel that calls into another bot's module would not be recompiled with it."""
    families = LAYERS[3]
    known = [
        f"{place(MODULES[module], line)} imports {name}"
        for module in MODULES
        if module.count(".") == 2 and module.split(".")[1] in families
        for name, line in ours(module)
        if name.split(".")[1] in families and name != module
    ]
    assert not known, "\n".join(known)


# -- what decides touches nothing but its state --------------------------------------------------------------

STEP = tuple(
    f"polytraders.engine.{name}" for name in ("step", "matching", "ledger", "book", "fees", "rules", "state", "kernels")
)
KERNEL_FAMILIES = ("intel", "discovery", "strategies", "risk", "execution")
JUDGES = (*KERNEL_FAMILIES, "security")
"""Families whose bots are functions of what they are given, inside the step or outside it."""
PURE = (
    *STEP,
    *(module for module in sorted(MODULES) if module.split(".")[1:2] and module.split(".")[1] in JUDGES),
)

WORLD = {
    *(
        "time",
        "datetime",
        "random",
        "secrets",
        "uuid",
        "os",
        "sys",
        "io",
        "pathlib",
        "tempfile",
        "shutil",
        "subprocess",
    ),
    *("socket", "ssl", "urllib", "http", "asyncio", "threading", "multiprocessing", "sqlite3", "logging", "requests"),
    *("httpx", "aiohttp", "websockets", "pyarrow", "duckdb", "pandas"),
}
"""Modules through which clocks, chance and the outside get in."""
DOORS = {"open", "print", "input", "exec", "eval", "__import__"}


@pytest.mark.parametrize("module", PURE)
def test_what_decides_has_no_clock_no_chance_and_no_io(module: str):
    path = MODULES[module]
    found = [
        f"{place(path, line)} imports {name}" for name, line in imports(path, module) if name.split(".")[0] in WORLD
    ]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in DOORS:
            found.append(f"{place(path, node.lineno)} calls {node.func.id}")
        if isinstance(node, ast.Attribute) and node.attr == "random":
            found.append(f"{place(path, node.lineno)} draws random numbers")
    assert not found, "\n".join(found)


CHAIN = ("polytraders.venue.chain.nodes", "polytraders.venue.chain.wallet", "polytraders.venue.chain.fills")
CHAIN += ("polytraders.venue.chain.sender", "polytraders.venue.chain.gas")


def test_web3_is_imported_where_the_chain_is_read_and_nowhere_else():
    found = {m for m, path in MODULES.items() for name, _ in imports(path, m) if name.split(".")[0] == "web3"}
    assert found == {*CHAIN}


def test_the_guard_needs_no_web3():
    code = "import sys, polytraders.venue.guard; print('web3' in sys.modules, 'eth_account' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False"


# -- no float holds money ------------------------------------------------------------------------------------

INTEGER_ONLY = (
    "units",
    "engine.ledger",
    "engine.book",
    "engine.fees",
    "engine.rules",
    "engine.matching",
    "venue.orders.amounts",
)
PROBABILITIES = {
    ("engine.matching", name): "where a cancel falls in the queue is a probability, not an amount"
    for name in ("_behind", "_on_depth")
}
DECIMAL = {("units", "_plain"): "divides a Decimal, exactly"}
FLOAT_NAMES = {"float", "float32", "float64", "fsum", "isclose"}


def floats(module: str) -> Iterator[tuple[str, str]]:
    """(function, what) of everything in a module that makes a float: literals, float(...), true division."""
    path = MODULES[f"polytraders.{module}"]
    for top in tree(path).body:
        name = getattr(top, "name", "")
        refusals = {id(node) for call in ast.walk(top) if is_isinstance(call) for node in ast.walk(call)}
        for node in ast.walk(top):
            if isinstance(node, ast.Constant) and isinstance(node.value, float):
                yield name, f"{place(path, node.lineno)} has the float {node.value}"
            elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Div):
                yield name, f"{place(path, node.lineno)} divides with /"
            elif FLOAT_NAMES & {getattr(node, "id", ""), getattr(node, "attr", "")} and id(node) not in refusals:
                yield name, f"{place(path, node.lineno)} makes a float"


def is_isinstance(node: ast.AST) -> bool:
    """A float named only to be refused."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance"


@pytest.mark.parametrize("module", INTEGER_ONLY)
def test_money_prices_and_sizes_never_pass_through_a_float(module: str):
    found = [what for function, what in floats(module) if (module, function) not in PROBABILITIES | DECIMAL]
    assert not found, "\n".join(found)


def test_every_exception_from_integers_is_still_needed():
    needed = {(module, function) for module in INTEGER_ONLY for function, _ in floats(module)}
    assert needed == PROBABILITIES.keys() | DECIMAL.keys()


def test_rows_and_records_hold_integers_only():
    """Features of markets and what discovery keeps of them are model outputs and may be floats; nothing else is."""
    import numpy as np

    from polytraders import rows
    from polytraders.engine import matching, state

    records = {
        name: dtype
        for where in (rows, state, matching)
        for name, dtype in vars(where).items()
        if isinstance(dtype, np.dtype) and dtype.names
    }
    assert {"EVENT", "DECISION", "ACTION", "SAMPLE", "ACCOUNT", "POSITION", "RESTING"} <= records.keys()
    found = {f"{name}.{field}" for name, d in records.items() for field in d.names if d[field].base.kind not in "iu"}
    assert found <= {"MARKET.x", "ACCOUNT.x"}


# -- notebooks and what they export --------------------------------------------------------------------------

HEADER = re.compile(r"^# AUTOGENERATED! DO NOT EDIT! File to edit: (\S+)\.$", re.MULTILINE)
LARGEST_NOTEBOOK = 1_000_000


def exported_module(notebook: Path) -> str:
    """Dotted name of the module a notebook exports, '' for none."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    source = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    said = re.search(r"^#\|\s*default_exp\s+(\S+)", source, re.MULTILINE)
    return f"polytraders.{said[1]}" if said else ""


EXPORTED = {module: notebook for notebook in notebooks() if (module := exported_module(notebook))}


@pytest.mark.parametrize("module", sorted(EXPORTED))
def test_an_exported_module_names_its_notebook(module: str):
    path = MODULES[module]
    said = HEADER.search(path.read_text(encoding="utf-8"))
    assert said and (path.parent / said[1]).resolve() == EXPORTED[module]


def test_every_module_with_the_header_has_its_notebook():
    assert {m for m, path in MODULES.items() if HEADER.search(path.read_text(encoding="utf-8"))} == EXPORTED.keys()


def test_every_bot_is_a_notebook():
    bots = {m for m in MODULES if m.count(".") == 2 and m.split(".")[1] in LAYERS[3]}
    assert bots <= EXPORTED.keys()


@pytest.mark.parametrize("notebook", notebooks(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_notebook_is_small_and_runs_on_the_projects_kernel(notebook: Path):
    assert notebook.stat().st_size < LARGEST_NOTEBOOK
    assert json.loads(notebook.read_text(encoding="utf-8"))["metadata"]["kernelspec"]["name"] == "python3"


# -- nothing secret, nothing remote --------------------------------------------------------------------------

SECRETS = {
    "a private key file": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a key, secret or passphrase": re.compile(
        r"(?i)\b\w*(?:private_?key|secret|passphrase|mnemonic|api_?key|password)\w*[\"']?\s*[:=]\s*[\"']?"
        r"((?:0x)?[0-9a-f]{32,}|[A-Za-z0-9+/_-]{24,}={0,2})(?![\w(.])"
    ),
    "a token of a code host or cloud": re.compile(
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|AKIA[0-9A-Z]{16}|pypi-[A-Za-z0-9_-]{50,})"
    ),
}
PUBLIC_TEST_KEYS = {
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80": "account 0 of every local Ethereum test chain"
}


def secrets(text: str) -> list[str]:
    return [
        f"{what}: {found[0][:60]}"
        for what, pattern in SECRETS.items()
        for found in pattern.finditer(text)
        if not any(key in found[0] for key in PUBLIC_TEST_KEYS)
    ]


def test_no_secret_stands_in_the_tree():
    found = []
    for path in files():
        try:
            found += [f"{path.relative_to(ROOT)}: {what}" for what in secrets(path.read_text(encoding="utf-8"))]
        except UnicodeDecodeError:
            continue  # not text
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "PRIVATE_" + "KEY = '0x" + "1f" * 32 + "'",
        '"api_' + 'secret": "' + "aB3+" * 10 + '="',
        "-----BEGIN EC PRIVATE " + "KEY-----",
        "token = gh" + "p_" + "a1" * 18,
    ],
)
def test_a_secret_would_be_found(text: str):
    assert secrets(text)


def test_the_public_test_key_and_a_hash_are_no_secrets():
    assert not secrets(f"private_key = '{next(iter(PUBLIC_TEST_KEYS))}'")
    assert not secrets("condition_id = '0x" + "1f" * 32 + "'")


def test_no_two_test_files_share_a_name():
    """pytest imports them by their name alone: the second of two would not be collected."""
    names = [path.name for path in files() if path.name.startswith("test_") and path.suffix == ".py"]
    assert sorted(names) == sorted(set(names))


CLIENTS = {"socket", "ssl", "urllib", "http", "requests", "httpx", "aiohttp", "websockets", "playwright"}
ON_LOOPBACK = ("tests/venue/", "tests/desk/", "tests/run/")
"""Their tests talk to a server of their own; to any other machine conftest refuses the connection."""
LOCAL_ONLY = {"tests/conftest.py": "closes the network", "tests/test_architecture.py": "names what it forbids"}


def test_no_test_talks_to_another_machine():
    """conftest refuses the connection too; this finds it before it is tried. A browser is for files on disk."""
    found = []
    for path in files():
        name = str(path.relative_to(ROOT))
        if path.suffix != ".py" or not name.startswith("tests/") or name in LOCAL_ONLY or name.startswith(ON_LOOPBACK):
            continue
        clients = {top for module, _ in imports(path) if (top := module.split(".")[0]) in CLIENTS}
        if "browser" in path.read_text(encoding="utf-8"):
            clients -= {"playwright"}
        found += [f"{name} imports {client}" for client in sorted(clients)]
    assert not found, "\n".join(found)


def test_a_connection_to_another_machine_is_refused():
    import socket

    with socket.socket() as line, pytest.raises(RuntimeError, match="reached for the network"):
        line.connect(("192.0.2.1", 443))


# -- style ---------------------------------------------------------------------------------------------------


def test_ruff_finds_nothing():
    ruff = Path(sys.executable).with_name("ruff")
    done = subprocess.run(
        [ruff, "check", "--no-cache", "--quiet", "--output-format", "concise"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


# -- light to start ------------------------------------------------------------------------------------------

HEAVY = (
    "numba",
    "numpy",
    "pandas",
    "plotly",
    "pyarrow",
    "duckdb",
    "pydantic",
    "papermill",
    "IPython",
    "rich.progress",
    "coincurve",
    "Crypto",
    "eth_account",
    "eth_keyfile",
    "web3",
    "sqlalchemy",
    "fastapi",
    "httpx",
)
TYPERS_OWN = {"pydantic"}  # typer imports it for a command's arguments, before ours are asked for
ASK = """
import sys
from polytraders.cli import main
sys.argv = ["polytraders", *{arguments!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("|".join(name for name in {heavy!r} if name in sys.modules), file=sys.stderr)
"""


def heavy_modules_after(*arguments: str) -> set[str]:
    script = ASK.format(arguments=arguments, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Usage: polytraders" in done.stdout
    return set(filter(None, done.stderr.strip().split("|")))


def test_help_imports_nothing_heavy():
    assert heavy_modules_after("--help") == set()


@pytest.mark.parametrize(
    "command", ["backtest", "replay", "verify", "report", "data", "bots", "venue", "status", "intents", "db"]
)
def test_a_commands_help_imports_nothing_heavy(command: str):
    assert heavy_modules_after(command, "--help") <= TYPERS_OWN
