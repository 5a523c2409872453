"""The house is tested: who may import whom, who may open which door, how large things are, what is documented.

Everything is read from the source, nothing is run, except where the last tests import the package in a process of
their own. A new room is entered in RANK; docs/design.md says what the ranks mean.
"""

from __future__ import annotations

import ast
import functools
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
PACKAGE = SRC / "vervet"
TESTS = ROOT / "tests"

RANK = {
    "types": 0, "errors": 0,
    "select": 1, "confidence": 1, "budget": 1,
    "rules": 2, "scaling": 2, "prompts": 2, "pool": 2, "sandbox": 2,
    "engine": 3,
    "models": 4,
    "llm": 5, "batch": 5,
    "operators": 6, "verify": 6,
    "tasks": 7, "estimate": 7,
    "run": 8,
    "architecture_search": 9, "exchange": 9,
    "report": 10, "server": 10, "testing": 10,
    "cli": 11,
    "__main__": 12,  # python -m vervet
}  # fmt: skip
FREE = {("types", "errors")}  # the one pair of equal rank that may know each other
NEVER = {
    "models": {"pool", "budget"},  # they do not touch the store and do not count money
    "engine": {"prompts", "pool"},  # token ids in, ids and figures out
    "operators": {"models", "pool", "verify", "tasks"},  # they name a scorer, the run resolves the name
    "llm": {"engine"},
}
STANDARD_ONLY = {"types", "errors"}
PURE = {"select", "confidence", "rules", "scaling"}
PURE_MAY = {"numpy", "scipy", "vervet", "__future__"}
IMPURE = {"time", "asyncio", "os", "io", "pathlib", "shutil", "socket", "threading", "logging", "secrets", "datetime"}

DOORS = {
    "engine": {"torch", "safetensors.torch"},
    "models": {"httpx", "aiohttp", "requests", "urllib3", "urllib.request", "http.client", "openai", "anthropic"},
    "pool": {"sqlite3", "aiosqlite", "sqlalchemy"},
    "sandbox": {"subprocess", "pty"},
    "architecture_search": {"optuna"},
    "server": {"uvicorn", "starlette", "fastapi", "flask", "aiohttp.web", "http.server"},
    "report": {"matplotlib", "plotly", "seaborn", "altair"},
}
DOOR_CALLS = {
    "sandbox": {"os.system", "os.popen", "os.fork", "os.execv", "asyncio.create_subprocess_exec",
                "asyncio.create_subprocess_shell"},
    "cli": {"print"},
}  # fmt: skip
GLOBAL_RANDOM = {
    *(f"random.{name}" for name in ("random", "seed", "choice", "choices", "shuffle", "sample", "randint", "uniform",
                                    "randrange", "gauss", "getrandbits", "betavariate", "expovariate")),
    *(f"{numpy}.random.{name}" for numpy in ("np", "numpy") for name in (
        "seed", "rand", "randn", "random", "choice", "shuffle", "permutation", "randint", "normal", "uniform")),
    "torch.manual_seed",
}  # fmt: skip

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
MAX_OPERATOR_CODE_LINES = 60
NO_OPERATORS = {"__init__", "base", "grammar"}  # the files of operators/ that hold what operators share
OTHER_TESTS = {"house", "docs", "conformance", "training", "bench", "package"}  # tests of no single room

FILES = sorted(path for path in PACKAGE.rglob("*.py"))
EACH_FILE = pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))


@functools.cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_of(path: Path) -> str:
    """The dotted name of a file: ``vervet.rules.until``."""
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    """The room of a dotted name inside the package; the root is the empty room."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def at(path: Path, node: ast.AST) -> str:
    """Where a reader finds it."""
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


@functools.cache
def imports(path: Path) -> tuple[tuple[str, ast.AST], ...]:
    """Every module that a file imports, anywhere in it, as an absolute dotted name."""
    found: list[tuple[str, ast.AST]] = []
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            source = ".".join([*base, *(node.module.split(".") if node.module else [])])
            found += [(f"{source}.{alias.name}", node) for alias in node.names]
    return tuple(found)


@functools.cache
def calls(path: Path) -> tuple[tuple[str, ast.Call], ...]:
    """The dotted name of everything that a file calls."""
    found = (node for node in ast.walk(tree(path)) if isinstance(node, ast.Call))
    return tuple((ast.unparse(node.func), node) for node in found if isinstance(node.func, (ast.Name, ast.Attribute)))


def goes_through(module: str, door: set[str]) -> bool:
    """True where an imported name is one of these modules or lies in one."""
    return any(module == name or module.startswith(f"{name}.") for name in door)


def is_public(name: str) -> bool:
    """True for a name without a leading underscore."""
    return not name.startswith("_")


def public_definitions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Public classes, functions and methods, with their dotted names."""
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and is_public(node.name):
            decorators = {ast.unparse(d).rpartition(".")[2] for d in node.decorator_list}
            if not decorators & {"overload", "override", "setter"}:
                yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body, f"{prefix}{node.name}.")


def code_lines(path: Path) -> int:
    """Lines that hold code: no docstring, no comment, no blank line."""
    held: set[int] = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            held.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and i not in held for i, line in lines)


# --- ranks ---------------------------------------------------------------------------------------------


@EACH_FILE
def test_every_file_lies_in_a_room(path: Path) -> None:
    room = room_of(module_of(path))
    assert room == "" or room in RANK, f"{path.relative_to(ROOT)}: {room!r} is no room; the rooms are {sorted(RANK)}"


@EACH_FILE
def test_a_room_imports_only_rooms_of_a_lower_rank(path: Path) -> None:
    room = room_of(module_of(path))
    if room == "":
        return  # the root re-exports
    wrong = []
    for module, node in imports(path):
        if module.split(".")[0] != "vervet":
            continue
        other = room_of(module)
        if other in (room, "__version__") or (room, other) in FREE:
            continue
        if other not in RANK:
            wrong.append(f"{at(path, node)}: imports {module} from the root; import from the room that defines it")
        elif RANK[other] >= RANK[room]:
            wrong.append(f"{at(path, node)}: {room} (rank {RANK[room]}) imports {other} (rank {RANK[other]})")
        elif other in NEVER.get(room, set()):
            wrong.append(f"{at(path, node)}: {room} must never import {other}")
    assert not wrong, "\n".join(wrong)


@EACH_FILE
def test_doors(path: Path) -> None:
    room = room_of(module_of(path))
    wrong = []
    for owner in DOORS.keys() - {room}:
        for module, node in imports(path):
            if goes_through(module, DOORS[owner]):
                wrong.append(f"{at(path, node)}: imports {module}; the only door to it is {owner}")
    for owner in DOOR_CALLS.keys() - {room}:
        for name, node in calls(path):
            if name in DOOR_CALLS[owner]:
                wrong.append(f"{at(path, node)}: calls {name}(); only {owner} may")
    assert not wrong, "\n".join(wrong)


@EACH_FILE
def test_pure_rooms_are_pure(path: Path) -> None:
    room = room_of(module_of(path))
    allowed = {"vervet", "__future__"} if room in STANDARD_ONLY else PURE_MAY
    wrong = []
    if room in PURE | STANDARD_ONLY:
        for module, node in imports(path):
            top = module.split(".")[0]
            if top not in allowed and top not in sys.stdlib_module_names:
                wrong.append(f"{at(path, node)}: {room} imports {module}; it may use the standard library"
                             + (", numpy and scipy" if room in PURE else " alone"))  # fmt: skip
    if room in PURE:
        wrong += [f"{at(path, node)}: {room} imports {module}; a pure room does no I/O and reads no clock"
                  for module, node in imports(path) if module.split(".")[0] in IMPURE]  # fmt: skip
        wrong += [f"{at(path, node)}: {room} opens a file" for name, node in calls(path) if name == "open"]
        wrong += [f"{at(path, node)}: {room} is pure, hence never async" for node in ast.walk(tree(path))
                  if isinstance(node, (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith))]  # fmt: skip
    assert not wrong, "\n".join(wrong)


@EACH_FILE
def test_no_global_randomness_and_no_silent_seed(path: Path) -> None:
    wrong = [f"{at(path, node)}: {name}() uses global randomness; take a generator as an argument"
             for name, node in calls(path) if name in GLOBAL_RANDOM]  # fmt: skip
    wrong += [f"{at(path, node)}: {name}() without a seed" for name, node in calls(path)
              if name.endswith(("random.default_rng", "random.Random")) and not node.args + node.keywords]  # fmt: skip
    wrong += [f"{at(path, node)}: imports {module}; use random.Random(seed)" for module, node in imports(path)
              if module in GLOBAL_RANDOM]  # fmt: skip
    assert not wrong, "\n".join(wrong)


@EACH_FILE
def test_nothing_is_evaluated(path: Path) -> None:
    wrong = [f"{at(path, node)}: {name}(); read data with ast.literal_eval or a parser, run code in the sandbox"
             for name, node in calls(path) if name in ("eval", "exec")]  # fmt: skip
    assert not wrong, "\n".join(wrong)


# --- sizes ---------------------------------------------------------------------------------------------


@EACH_FILE
def test_sizes(path: Path) -> None:
    n_lines = len(path.read_text(encoding="utf-8").splitlines())
    wrong = []
    if n_lines > MAX_FILE_LINES:
        wrong.append(f"{path.relative_to(ROOT)}: {n_lines} lines, at most {MAX_FILE_LINES}; make it a folder")
    for node in ast.walk(tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            n_lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if n_lines > MAX_FUNCTION_LINES:
                wrong.append(f"{at(path, node)}: {node.name} has {n_lines} lines, at most {MAX_FUNCTION_LINES}")
    assert not wrong, "\n".join(wrong)


OPERATOR_FILES = [p for p in FILES if p.parent.name == "operators" and p.stem not in NO_OPERATORS]


@pytest.mark.parametrize("path", OPERATOR_FILES, ids=lambda p: p.stem)
def test_an_operator_is_one_small_file_and_one_name(path: Path) -> None:
    n_lines = code_lines(path)
    assert n_lines <= MAX_OPERATOR_CODE_LINES, (
        f"{path.relative_to(ROOT)}: {n_lines} lines of code, at most {MAX_OPERATOR_CODE_LINES} "
        "(docstrings, comments and blank lines are free)"
    )
    listed = importlib.import_module("vervet.operators").OPERATORS.values()
    homes = {operator.__module__ for operator in listed}
    assert module_of(path) in homes, f"{path.relative_to(ROOT)}: its operator is not in vervet.operators.OPERATORS"
    mine = [operator for operator in listed if operator.__module__ == module_of(path)]
    silent = [o.__name__ for o in mine if not re.search(r"^ *Reference: ", o.__doc__ or "", re.MULTILINE)]
    assert not silent, f"{path.relative_to(ROOT)}: {silent} have no line 'Reference: ...' (or 'Reference: none')"


# --- names ---------------------------------------------------------------------------------------------


@EACH_FILE
def test_public_things_are_documented(path: Path) -> None:
    wrong = [] if ast.get_docstring(tree(path)) else [f"{path.relative_to(ROOT)}:1: the module has no docstring"]
    if not any(part.startswith("_") and part != "__init__" for part in path.relative_to(PACKAGE).with_suffix("").parts):
        wrong += [f"{at(path, node)}: {name} has no docstring" for name, node in public_definitions(tree(path).body)
                  if not ast.get_docstring(node)]  # type: ignore[arg-type]  # fmt: skip
    assert not wrong, "\n".join(wrong)


def assigned(node: ast.stmt) -> set[str]:
    """The names that a statement assigns to."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    parts = (part for target in targets for part in ast.walk(target))
    return {part.id for part in parts if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}


def declared_names(path: Path) -> list[str] | None:
    """What ``__all__`` lists, or None where there is none."""
    for node in tree(path).body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value and "__all__" in assigned(node):
            return list(ast.literal_eval(node.value))
    return None


def public_names(path: Path) -> set[str]:
    """What a file defines without an underscore; what it imports only to hand it on is for ruff (F401)."""
    names: set[str] = set()
    for node in tree(path).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        names |= assigned(node)
    return {name for name in names if is_public(name)}


DECLARING = [path for path in FILES if declared_names(path) is not None]


@pytest.mark.parametrize("path", DECLARING, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_all_lists_what_is_public(path: Path) -> None:
    declared = declared_names(path) or []
    assert len(declared) == len(set(declared)), f"{path.relative_to(ROOT)}: a name is listed twice"
    missing = public_names(path) - set(declared)
    assert not missing, f"{path.relative_to(ROOT)}: public but not in __all__: {sorted(missing)}"
    try:
        module = importlib.import_module(module_of(path))
    except ImportError as error:
        if error.name not in ("torch", "matplotlib", "optuna"):
            raise
        pytest.skip(f"needs {error.name}, which is not installed")
    absent = [name for name in declared if not hasattr(module, name)]
    assert not absent, f"{path.relative_to(ROOT)}: in __all__ but not there: {absent}"


ROOMS = sorted({room_of(module_of(path)) for path in FILES} & RANK.keys() - {"__main__"})


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_tests(room: str) -> None:
    found = [*TESTS.glob(f"test_{room}.py"), *TESTS.glob(f"test_{room}_*.py"), *TESTS.glob(f"{room}/test_*.py")]
    assert found, f"room {room} has no tests: expected tests/test_{room}.py or tests/{room}/test_*.py"


def test_tests_mirror_the_rooms() -> None:
    known = RANK.keys() | OTHER_TESTS
    stray = []
    for path in sorted(TESTS.rglob("test_*.py")):
        folder, stem = path.relative_to(TESTS).parts[0], path.stem.removeprefix("test_")
        named = folder in known if path.parent != TESTS else any(stem == k or stem.startswith(f"{k}_") for k in known)
        if not named:
            stray.append(str(path.relative_to(ROOT)))
    assert not stray, f"these tests belong to no room: {stray}; name them after one of {sorted(known)}"


def test_the_design_page_names_every_room() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    missing = [room for room in RANK if is_public(room) and f"`{room}" not in text]
    assert not missing, f"docs/design.md does not name the rooms {missing}"


# --- what importing costs ------------------------------------------------------------------------------

HEAVY = ("torch", "matplotlib", "scipy", "tokenizers", "safetensors", "transformers", "optuna", "httpx", "uvicorn")
WITHOUT = """
import sys, importlib
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""


def fresh_python(code: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_vervet_is_light() -> None:
    loaded = fresh_python(f"import sys, vervet; print(*[m for m in {HEAVY!r} if m in sys.modules])").split()
    assert not loaded, f"import vervet loads {loaded}; import them where they are used"


def test_import_vervet_works_without_the_extras() -> None:
    absent = ("torch", "matplotlib", "tokenizers", "safetensors", "transformers", "optuna", "jinja2")
    modules = ["vervet"] + (["vervet.cli"] if "cli" in ROOMS else [])
    fresh_python(WITHOUT.format(names=absent) + f"for m in {modules!r}: importlib.import_module(m)")
