"""Say what will go wrong with a logged model from code, before production does.

    check-model models:/churn/3          or a folder, runs:/<id>/model, models:/churn@a
    check-model models:/churn/3 --json   for a program; --help lists other options

It needs MLflow and what the model needs, nothing else. The model runs in processes of
its own, in an empty folder; it is loaded without the keys of the environment and
reaches no host but this one without `--call`. Each check is a function that returns
what is wrong, or None; `check.md` says why that matters and what mends it.
"""

import argparse
import ast
import functools
import importlib.metadata
import importlib.util
import json
import logging
import math
import multiprocessing
import os
import pickletools
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

LIMIT = 60.0  # seconds that one check may take
LONGEST = 2000  # characters of an error that somebody still reads
LARGE = 2**30  # bytes that each worker of each deployment has to fetch
SECRET_NAME = re.compile(r"(.*_)?(key|token|secret|password)", re.I)
SECRET = re.compile(
    r"\bsk-(?=[\w-]*\d)[\w-]{20,}|\bAKIA[0-9A-Z]{16}\b|\bgh[pos]_\w{30,}|\bhf_[A-Za-z]{30,}"
    r"|\bxox[bp]-[\w-]{10,}|\bAIza[\w-]{35}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|://[^/\s:@]+:[^/\s:@{}$]+@"
)
UNPICKLE = re.compile(r"(pickle|cloudpickle|dill|joblib)\.loads?|pandas\.read_pickle")
MACHINE_PATH = re.compile(r"/(home|Users|root|mnt|tmp|data|opt)/.|[A-Za-z]:[\\/]\w")
MOVING_NAME = re.compile(r"models:/[^/@]+(@.+|/[A-Za-z]+)")
STRAY = {".env", ".git", ".venv", ".ssh", ".aws", ".netrc", ".pypirc", "id_rsa"}
STORE_CALL = re.compile(
    r"mlflow\.(set_(tracking_uri|registry_uri|experiment)|start_run|pyfunc\.load_model)"
)
PINNED = re.compile(r"[^=<>~!]+(===?\s*[^=<>~!*]+|@\s*\S+)(;.*)?")
OTHER_INDEX = re.compile(r"(-i|-f|--(extra-)?index-url|--find-links)\b|.*@\s*\S+://")
SYSTEM = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/")  # what any program may read
LOCAL = ("127.", "localhost", "::1")


class CheckError(Exception):
    """The model could not be checked; the message says why in one line."""


class Skip(Exception):
    """The check does not apply to this model; the message says why."""


class Result(NamedTuple):
    """What one check says of a model; its status is ok, error, advice or skipped."""

    name: str
    status: str
    seen: str
    why: str = ""
    mend: str = ""
    pitfall: str = ""

    def __str__(self) -> str:
        lines = [f"{self.status:<8}{self.name}: {self.seen or 'fine'}"]
        lines += [line for line in (self.why, self.mend, self.pitfall) if line]
        return "\n        ".join(lines)


@functools.cache
def table() -> dict[str, list[str]]:
    """Return level, why, mend and pitfall of each check, in check.md's order."""
    text = Path(__file__).with_name("check.md").read_text("utf-8")
    rows = [line.strip("|").split(" | ") for line in text.splitlines()[2:]]
    return {name.strip(" `"): [cell.strip() for cell in row] for name, *row in rows}


def result(name: str, seen: str | None, status: str = "") -> Result:
    """Return a check's result; SITE_URL is the address of the cookbook's site."""
    level, why, mend, pitfall = table()[name]
    if status == "skipped" or not seen:
        return Result(name, status or "ok", seen or "")
    if pitfall:
        pitfall = f"{os.environ.get('SITE_URL', '')}pitfalls/{pitfall.split()[0]}/"
    return Result(name, status or level, seen, why, mend, pitfall)


class Reply(NamedTuple):
    """What MLflow's model server replies."""

    status: int
    text: str
    traceback: bool = False

    @property
    def answer(self) -> Any:
        """Return the predictions; the text of an error."""
        if self.status != 200:
            return self.text
        parsed = json.loads(self.text)
        return parsed.get("predictions", parsed) if isinstance(parsed, dict) else parsed

    def fault(self) -> str | None:
        """Return what is wrong with it as the refusal of a bad request."""
        if self.status == 200:
            return f"is answered: {self.text:.80}"
        if self.traceback:
            return f"ends in a traceback: {self.text.splitlines()[-1]:.200}"
        if self.status != 400:
            return f"has status {self.status}: {self.text:.80}"
        if len(self.text) > LONGEST:
            return f"is refused in {len(self.text):,} characters"
        return None


class Watch:
    """Note what the model's own code opens, and which hosts and keys it asks for."""

    def __init__(self, folder: Path, call: bool) -> None:
        self.folder = f"{folder}{os.sep}"
        self.call = call
        self.phase = "when it is loaded"
        self.files: list[str] = []
        self.hosts: list[str] = []
        self.keys: set[str] = set()  # that were not there
        self.needed: set[str] = set()  # without which it failed
        self.needed_at_load: set[str] = set()
        own = (self.folder, tempfile.gettempdir(), sys.prefix, sys.base_prefix)
        self.allowed = (*own, *SYSTEM)
        look_up = os._Environ.__getitem__

        def noting(environment: Any, name: Any) -> Any:
            if name not in environment._data and SECRET_NAME.fullmatch(str(name)):
                self.keys.add(name)
            return look_up(environment, name)

        setattr(os._Environ, "__getitem__", noting)  # noqa: B010
        sys.addaudithook(self.note)

    def note(self, event: str, values: tuple[Any, ...]) -> None:
        """Take an audit event of Python's; OSError for another host."""
        if event == "open" and isinstance(values[0], str | bytes):
            path = os.path.abspath(os.fsdecode(values[0]))
            place = None if path.startswith(self.allowed) else self.own_place()
            if place:
                name = path.removeprefix(f"{os.getcwd()}/")
                self.files.append(f"{place}: opens {name!r} {self.phase}")
        elif event == "socket.connect" and isinstance(values[1], tuple):
            self.note_host(str(values[1][0]))
        elif event == "socket.getaddrinfo" and values[0]:
            self.note_host(os.fsdecode(values[0]))

    def note_host(self, host: str) -> None:
        self.hosts.append(f"{host} {self.phase}")
        if not self.call and not host.startswith(LOCAL):
            raise OSError(f"check-model asks no other host without --call: {host}")

    def own_place(self) -> str | None:
        """Return `file:line` of the model's code that leads here.

        None within the import of a library, and where MLflow reads its own store.
        """
        frame: Any = sys._getframe(2)
        while frame:
            file = frame.f_code.co_filename
            if file.startswith(self.folder):
                return f"{Path(file).name}:{frame.f_lineno}"
            if file.startswith("<frozen importlib") or "-packages/mlflow/" in file:
                return None
            frame = frame.f_back
        return None

    def refused(self) -> list[str]:
        """Return the other hosts that were asked in vain."""
        return [h for h in self.hosts if not (self.call or h.startswith(LOCAL))]


class Subject:
    """The model that is checked: its files, its code as trees, itself when loaded."""

    def __init__(self, folder: str, call: bool, statuses: dict[str, str]) -> None:
        from mlflow.models import Model

        self.folder = Path(folder)
        self.statuses = statuses  # of the checks so far
        self.meta = Model.load(folder)
        self.flavor = self.meta.flavors["python_function"]
        self.files = [file for file in self.folder.rglob("*") if file.is_file()]
        self.watch = Watch(self.folder, call)
        self.seconds = 0.0  # that one answer takes
        file = self.folder / "requirements.txt"
        lines = file.read_text("utf-8").splitlines() if file.is_file() else []
        lines = [re.split(r"(^|\s)#|\s--hash|\\$", line)[0].strip() for line in lines]
        self.requirements = [line for line in lines if line]
        self.packages = [r for r in self.requirements if r[0] != "-" and "/" not in r]

    def after(self, name: str) -> None:
        """Skip the check unless that other one is fine."""
        if self.statuses.get(name) != "ok":
            raise Skip(f"{name} comes first")

    # Its code.

    @functools.cached_property
    def trees(self) -> dict[str, ast.Module]:
        """Return the trees of the model's file, first, and of what came with it."""
        main = self.flavor.get("model_code_path")
        if not main:
            raise Skip("there is no code to read")
        # An absolute path, of the system that the model was logged on.
        paths = [self.folder / PureWindowsPath(main).name]
        paths += self.folder.glob("code/**/*.py")
        names = [path.relative_to(self.folder).as_posix() for path in paths]
        trees = [ast.parse(path.read_bytes()) for path in paths]
        return dict(zip(names, trees, strict=True))

    def nodes(self, kind: Any) -> Iterator[tuple[str, Any]]:
        """Yield the nodes of that kind with their places, file:line."""
        for name, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, kind):
                    yield f"{name}:{node.lineno}", node

    @functools.cached_property
    def imported(self) -> dict[str, str]:
        """Return the full names of what the code imports under another name."""
        names = {}
        for _, node in self.nodes(ast.Import | ast.ImportFrom):
            for alias in node.names:
                module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                if alias.asname or module:
                    names[alias.asname or alias.name] = f"{module}{alias.name}"
        return names

    def called(self, call: ast.Call) -> str:
        """Return the full name of what is called: joblib.load for `load`."""
        first, dot, rest = ast.unparse(call.func).partition(".")
        return f"{self.imported.get(first, first)}{dot}{rest}"

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield the strings of the code that are no docstrings, with their places."""
        prose = {id(node.value) for _, node in self.nodes(ast.Expr)}
        for place, node in self.nodes(ast.Constant):
            if isinstance(node.value, str) and id(node) not in prose:
                yield place, node.value

    # The loaded model.

    def load(self) -> Any:
        """Load the model without the keys of the environment."""
        import mlflow

        keys = {n: v for n, v in os.environ.items() if SECRET_NAME.fullmatch(n)}
        keys = {n: v for n, v in keys.items() if not n.startswith("MLFLOW_")}
        for name in keys:
            del os.environ[name]
        load = functools.partial(
            mlflow.pyfunc.load_model, str(self.folder), suppress_warnings=True
        )
        loaded = self.with_keys(load)
        self.watch.needed_at_load = self.watch.needed
        os.environ.update(keys)
        self.watch.phase = "when it predicts"
        return loaded

    def with_keys(self, act: Callable[[], Any]) -> Any:
        """Return act(); if it fails for want of keys, act() with some."""
        try:
            return act()
        except Exception:
            self.watch.needed = self.watch.keys - os.environ.keys()
            if not self.watch.needed:
                raise
            os.environ.update(dict.fromkeys(self.watch.needed, "none"))
            return act()

    @functools.cached_property
    def pyfunc(self) -> Any:
        """Return the loaded model."""
        if self.statuses.get("loads", "ok") != "ok":
            raise Skip("it does not load")
        return self.load()

    def ask(self, body: Any) -> Reply:
        """Return what the model server would reply, through its own parser."""
        from mlflow.exceptions import MlflowException
        from mlflow.pyfunc.scoring_server import invocations

        schema = self.pyfunc.metadata.get_input_schema()
        text = json.dumps(body)
        try:
            reply = invocations(text, "application/json", self.pyfunc, schema)
            return Reply(reply.status, reply.response)
        except MlflowException as error:
            message = error.message
            if message.startswith("Failed to predict data"):  # MLflow's own words
                message = message.split("\nError: ", 1)[-1]
            trace = error.json_kwargs.get("stack_trace")
            return Reply(error.get_http_status_code(), trace or message, bool(trace))

    @functools.cached_property
    def body(self) -> dict[str, Any]:
        """Return the input example as the body of a request."""
        file = self.folder / "serving_input_example.json"
        if not file.is_file():
            raise Skip("it has no input example")
        return dict(json.loads(file.read_text("utf-8")))

    @functools.cached_property
    def first(self) -> Any:
        """Return the answer to the input example."""
        self.after("example-is-answered")
        return self.ask(self.body).answer

    @functools.cached_property
    def rows(self) -> list[dict[Any, Any]]:
        """Return the rows of the input example; bare values have no column's name."""
        split = self.body.get("dataframe_split")
        if split and split["data"]:
            names = split["columns"]
            return [dict(zip(names, row, strict=True)) for row in split["data"]]
        rows = self.body.get("inputs")
        if not isinstance(rows, list) or not rows or isinstance(rows[0], list):
            raise Skip("its input is no table and no list of rows")
        return [row if isinstance(row, dict) else {None: row} for row in rows]

    def with_rows(self, rows: list[dict[Any, Any]]) -> Any:
        """Return the example's body with other rows."""
        if "dataframe_split" not in self.body:
            bare = [row.get(None, row) for row in rows]
            return self.body | {"inputs": bare}
        split = {"columns": [*rows[0]], "data": [[*row.values()] for row in rows]}
        return self.body | {"dataframe_split": split}

    def with_cell(self, name: Any, value: Any, times: int = 1) -> Any:
        """Return the body with that value in the first row, the rows so many times."""
        return self.with_rows([self.rows[0] | {name: value}, *(self.rows * times)[1:]])

    @functools.cached_property
    def numbers(self) -> list[tuple[Any, Any]]:
        """Return the first row's numbers that change the answer, with their columns."""
        used = []
        for name, value in self.rows[0].items():
            if type(value) in (int, float):
                other = self.ask(self.with_cell(name, value + 1)).answer
                if not same(other, self.first):
                    used.append((name, value))
        if not used:
            raise Skip("no number of the example changes the answer")
        return used

    @functools.cached_property
    def by_row(self) -> list[Any]:
        """Return the answers; Skip if the model does not answer row by row."""
        self.after("answers-repeat")
        if not isinstance(self.first, list) or len(self.first) != len(self.rows):
            raise Skip("it does not give one answer for each row")
        return self.first


# Reading code and answers.


def same(one: Any, other: Any) -> bool:
    """Compare answers, floats up to rounding; ids and times of messages don't count."""
    if isinstance(one, dict) and isinstance(other, dict):
        is_message = {"object", "choices", "messages"} & one.keys()
        volatile = {"id", "created", "created_at"} if is_message else set()
        names = (one.keys() | other.keys()) - volatile
        return all(same(one.get(name), other.get(name)) for name in names)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        missing = math.isnan(one) and math.isnan(other)
        return missing or math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-9)
    return bool(one == other)


def short(value: Any) -> str:
    """Return a value as at most 80 characters of JSON."""
    return f"{json.dumps(value):.80}"


def one_line(error: BaseException) -> str:
    """Return kind and message of an error's first cause, in at most 300 characters."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the node and what of it runs when the file is imported."""
    yield node
    for part in ast.iter_child_nodes(node):
        if not isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from at_import(part)


def imports(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield name and line of each package that the code can't do without."""
    for part in ast.iter_child_nodes(node):
        optional = isinstance(part, ast.Try) or "TYPE_CHECKING" in ast.dump(part)[:60]
        if isinstance(part, ast.Import):
            yield from ((alias.name.split(".")[0], part.lineno) for alias in part.names)
        elif isinstance(part, ast.ImportFrom) and not part.level:
            yield str(part.module).split(".")[0], part.lineno
        elif not optional:
            yield from imports(part)


def installed(requirements: list[str]) -> tuple[set[str], set[str]]:
    """Return the packages that the requirements bring, and those not installed here."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    brought: set[str] = set()
    absent: set[str] = set()
    waiting = [Requirement(line) for line in requirements]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in brought and not wanted.extras:
            continue
        brought.add(name)
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            absent.add(name)
            continue
        extras = [{"extra": extra} for extra in (*wanted.extras, "")]
        for needed in map(Requirement, lines):
            applies = not needed.marker or any(map(needed.marker.evaluate, extras))
            if applies and canonicalize_name(needed.name) not in brought:
                waiting.append(needed)
    return brought, absent


def is_brought(name: str, brought: set[str]) -> bool:
    """Tell whether one of these packages makes that name importable."""
    if name.lower().replace("_", "-") in brought:
        return True  # as most do, and the other way takes a second
    makers = importlib.metadata.packages_distributions().get(name, [])
    return any(re.sub(r"[-_.]+", "-", maker).lower() in brought for maker in makers)


def is_pickle(file: Path) -> bool:
    """Tell a pickle, or a zip that holds one, by its content."""
    if zipfile.is_zipfile(file):
        return any(n.endswith(".pkl") for n in zipfile.ZipFile(file).namelist())
    with file.open("rb") as content:
        if content.peek(1)[:1] != b"\x80":
            return False
        with suppress(ValueError):
            return bool([*pickletools.genops(content)])
    return False


def reached(model_class: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    """Yield predict and predict_stream, and the methods that they call."""
    methods = {n.name: n for n in model_class.body if isinstance(n, ast.FunctionDef)}
    waiting = {"predict", "predict_stream"} & methods.keys()
    seen: set[str] = set()
    while waiting - seen:
        name = min(waiting - seen)
        seen.add(name)
        yield methods[name]
        attributes = [
            n for n in ast.walk(methods[name]) if isinstance(n, ast.Attribute)
        ]
        waiting |= {node.attr for node in attributes} & methods.keys()


def assigned(method: ast.FunctionDef) -> Iterator[str]:
    """Yield the attributes and globals that the method assigns.

    `if self.client is None: self.client = ...` is made once, and allowed.
    """
    once: set[ast.AST] = set()
    for node in ast.walk(method):
        if isinstance(node, ast.If) and "self." in ast.unparse(node.test):
            once |= set(ast.walk(node))
        if isinstance(node, ast.Global):
            yield node.names[0]
        if isinstance(node, ast.Attribute | ast.Subscript) and node not in once:
            name = ast.unparse(node)
            if isinstance(node.ctx, ast.Store) and name.startswith("self."):
                yield name


# The checks of its files and its code.


def is_code(model: Subject) -> str | None:
    pickled = model.flavor.get("python_model")
    return f"the model is a pickled object, {pickled}" if pickled else None


def no_pickle_inside(model: Subject) -> str | None:
    for place, node in model.nodes(ast.Call):
        if UNPICKLE.fullmatch(model.called(node)):
            return f"{place}: {model.called(node)}(...)"
    pickles = [file.name for file in model.files if is_pickle(file)]
    return f"{pickles[0]} is a pickle" if pickles else None


def set_model_last(model: Subject) -> str | None:
    name, tree = next(iter(model.trees.items()))
    set_before = False
    for statement in tree.body:
        calls = [n for n in at_import(statement) if isinstance(n, ast.Call)]
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            calls = []
        if set_before and calls:
            called = ast.unparse(calls[0].func)
            return f"{name}:{statement.lineno}: {called}() runs after set_model"
        if any(ast.unparse(call.func).endswith("set_model") for call in calls):
            set_before = True
    return None if set_before else f"{name} does not call set_model"


def store_untouched(model: Subject) -> str | None:
    top = {id(n) for tree in model.trees.values() for n in at_import(tree)}
    for place, node in model.nodes(ast.Call):
        if id(node) in top and STORE_CALL.fullmatch(model.called(node)):
            return f"{place}: {model.called(node)}() at import"
    return None


def no_state(model: Subject) -> str | None:
    for place, node in model.nodes(ast.ClassDef):
        for method in reached(node):
            for name in assigned(method):
                return f"{place}: {node.name}.{method.name} assigns {name}"
    return None


def parts_pinned(model: Subject) -> str | None:
    found = [f"{p}: {text!r}" for p, text in model.texts() if MOVING_NAME.match(text)]
    return found[0] if found else None


def no_machine_paths(model: Subject) -> str | None:
    found = [f"{p}: {t!r:.80}" for p, t in model.texts() if MACHINE_PATH.match(t)]
    return found[0] if found else None


def no_secrets(model: Subject) -> str | None:
    for name, value in (model.flavor.get("config") or {}).items():
        if SECRET_NAME.fullmatch(name) and isinstance(value, str) and value:
            return f"model_config holds {name!r}"
    for file in model.files:
        if file.stat().st_size < 10**6:
            hit = SECRET.search(file.read_text("utf-8", errors="ignore"))
            if hit:
                return f"{file.relative_to(model.folder)} holds {hit[0][:6]}..."
    return None


def no_stray_files(model: Subject) -> str | None:
    for file in model.files:
        path = file.relative_to(model.folder)
        if STRAY & {*path.parts}:
            return f"{path} travels with the model"
    return None


def not_large(model: Subject) -> str | None:
    sizes = {file.stat().st_size: file.name for file in model.files}
    if sum(sizes) < LARGE:
        return None
    return (
        f"{sum(sizes) / 1e9:.1f} GB, {max(sizes) / 1e9:.1f} of it {sizes[max(sizes)]}"
    )


def package_names_free(model: Subject) -> str | None:
    for path in sorted(model.folder.glob("code/*")):
        if path.suffix in ("", ".py") and importlib.util.find_spec(path.stem):
            return f"code/{path.name}: a package of that name is installed"
    return None


# The checks of its requirements and its signature.


def requirements_pinned(model: Subject) -> str | None:
    if not model.requirements:
        return "it has no requirements"
    loose = [line for line in model.packages if not PINNED.fullmatch(line)]
    return ", ".join(loose) or None


def requirements_complete(model: Subject) -> str | None:
    model.after("loads")  # which says what is not here at all
    brought, absent = installed(model.packages)
    own = {
        path.stem for path in (*model.folder.glob("*"), *model.folder.glob("code/*"))
    }
    for file, tree in model.trees.items():
        for name, line in imports(tree):
            if name in own | sys.stdlib_module_names or is_brought(name, brought):
                continue
            if absent and not importlib.util.find_spec(name):
                raise Skip(f"not installed here: {', '.join(sorted(absent))}")
            return f"{file}:{line}: imports {name}, which no requirement brings"
    return None


def one_index(model: Subject) -> str | None:
    other = [line for line in model.requirements if OTHER_INDEX.match(line)]
    return f"requirements.txt: {other[0]}" if other else None


def no_uv_lock(model: Subject) -> str | None:
    lock = model.folder / "uv.lock"
    if not lock.is_file():
        return None
    return f"uv.lock names {lock.read_text('utf-8').count('[[package]]')} packages"


def has_signature(model: Subject) -> str | None:
    return None if model.meta.signature else "it has no signature"


def has_example(model: Subject) -> str | None:
    return None if model.meta.saved_input_example_info else "it has no input example"


# The checks of the model as it runs.


def loads(model: Subject) -> str | None:
    try:
        model.__dict__["pyfunc"] = model.load()
    except Exception as error:
        if model.watch.files or model.watch.refused():
            raise Skip("it fails at what the next checks name") from None
        return one_line(error)
    return None


def opens_own_files_only(model: Subject) -> str | None:
    return model.watch.files[0] if model.watch.files else None


def loads_without_network(model: Subject) -> str | None:
    hosts = [host for host in model.watch.hosts if "loaded" in host]
    return f"asks {hosts[0]}" if hosts else None


def loads_without_keys(model: Subject) -> str | None:
    names = ", ".join(sorted(model.watch.needed_at_load))
    return f"does not load without {names}" if names else None


def example_is_answered(model: Subject) -> str | None:
    if not model.meta.saved_input_example_info:
        raise Skip("it has no input example")
    example = model.meta.load_input_example(str(model.folder))
    pyfunc = model.pyfunc
    fault = None
    try:
        model.with_keys(lambda: pyfunc.predict(example))  # MLflow's own snippet
    except Exception as error:
        fault = f"model.predict(model.input_example): {one_line(error)}"
    if model.watch.refused():
        raise Skip(f"it asks {model.watch.refused()[0]}; --call allows that")
    if fault:
        return fault
    start = time.monotonic()
    reply = model.ask(model.body)
    model.seconds = time.monotonic() - start
    return None if reply.status == 200 else f"over REST: {reply.text.strip()[-200:]}"


def params_arrive(model: Subject) -> str | None:
    model.after("example-is-answered")
    schema = model.meta.get_params_schema()
    params = Noting({p.name: p.default for p in schema.params} if schema else {})
    example = model.meta.load_input_example(str(model.folder))
    with suppress(Exception):  # a model that takes none
        model.pyfunc._model_impl.predict(example, params=params)
    unknown = sorted(params.read - params.keys())
    return f"predict reads {unknown[0]!r}, the signature lacks it" if unknown else None


class Noting(dict[str, Any]):
    """Params that note which are read."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def __bool__(self) -> bool:
        return True


def answers_repeat(model: Subject) -> str | None:
    again = model.ask(model.body).answer
    if same(again, model.first):
        return None
    return f"the same request twice: {short(model.first)}, then {short(again)}"


def answers_json(model: Subject) -> str | None:
    bodies = {"the example": model.body}
    model.after("example-is-answered")
    with suppress(Skip):
        for name, _ in model.numbers:
            bodies[f"null{in_column(name)}"] = model.with_cell(name, None)
    for what, body in bodies.items():
        reply = model.ask(body)
        bare = re.sub(r'"(\\.|[^"\\])*"', "", reply.text)  # without its strings
        hit = re.search("NaN|Infinity", bare)
        if reply.status == 200 and hit:
            return f"{what} is answered with {hit[0]}"
    return None


def in_column(name: Any) -> str:
    return "" if name is None else f" in column {name!r}"


def reads_the_values(model: Subject) -> str | None:
    if not isinstance(model.first, list) or len(model.first) != len(model.rows[0]):
        return None
    higher = [{name: plus_one(row[name]) for name in row} for row in model.rows]
    if higher == model.rows:
        raise Skip("its example has no numbers")
    for rows in (model.rows * 2, higher):
        if not same(model.ask(model.with_rows(rows)).answer, model.first):
            return None
    asked = [short(model.with_rows(rows)) for rows in (model.rows, higher)]
    return f"answers {short(model.first)} for {' and for '.join(asked)}"


def plus_one(value: Any) -> Any:
    return value + 1 if type(value) in (int, float) else value


def names_its_columns(model: Subject) -> str | None:
    outputs = model.meta.signature and model.meta.signature.outputs
    made_by_type = "task" in (model.meta.metadata or {})
    if made_by_type or not outputs or not outputs.has_input_names():
        raise Skip("the signature names no columns of the answer")
    row = model.first[0] if isinstance(model.first, list) else model.first
    names = {*row} if isinstance(row, dict) else set()
    if {*outputs.required_input_names()} <= names <= {*outputs.input_names()}:
        return None
    return f"answers {short(row)}; the signature has {', '.join(outputs.input_names())}"


def rows_apart(model: Subject) -> str | None:
    for row, among in list(zip(model.rows, model.by_row, strict=True))[:8]:
        alone = model.ask(model.with_rows([row])).answer
        if not same(alone, [among]):
            return f"{short(row)} alone: {short(alone)}, among others: {short(among)}"
    back = model.ask(model.with_rows(model.rows[::-1])).answer
    if same(back, model.by_row[::-1]):
        return None
    return f"{short(model.by_row)}, and {short(back)} with the rows in reverse"


def threads_apart(model: Subject) -> str | None:
    model.after("answers-repeat")
    bodies = [model.body]
    with suppress(Skip):
        if model.by_row:
            bodies = [model.with_rows([row]) for row in model.rows[:8]]
    expected = [model.ask(body).answer for body in bodies]
    times = 8 * min(3, int(1 + 2 / (model.seconds * len(bodies) + 0.01)))
    sys.setswitchinterval(1e-5)  # threads meet more often
    with ThreadPoolExecutor(8) as pool:
        answers = [reply.answer for reply in pool.map(model.ask, bodies * times)]
    sys.setswitchinterval(0.005)
    pairs = zip(answers, expected * times, strict=True)
    other = [answer for answer, alone in pairs if not same(answer, alone)]
    if not other:
        return None
    return f"{len(other)} of {len(answers)} answers in 8 threads: {short(other[0])}"


def numbers_are_numbers(model: Subject) -> str | None:
    for name, value in model.numbers:
        for sent, number in ((True, 1), (str(value), value)):
            reply = model.ask(model.with_cell(name, sent))
            taken = model.ask(model.with_cell(name, number))
            if reply.status == 200 and same(reply.answer, taken.answer):
                return f"{short(sent)}{in_column(name)} is taken for {number}"
    return None


def bad_values_are_refused_well(model: Subject) -> str | None:
    times = 200 if model.seconds < 0.05 else 1
    for name, _ in model.numbers:
        for value in ("no number", None):
            reply = model.ask(model.with_cell(name, value, times))
            if reply.status != 200 and reply.fault():
                return f"{short(value)}{in_column(name)} {reply.fault()}"
    return None


def columns_are_checked(model: Subject) -> str | None:
    model.after("has-signature")
    names = [name for name in model.rows[0] if isinstance(name, str)]
    if not names:
        raise Skip("its rows have no columns")
    model.after("answers-repeat")
    for name in names:
        rows = [{n: row[n] for n in row if n != name} for row in model.rows]
        reply = model.ask(model.with_rows(rows))
        if reply.status != 200 and reply.fault():
            return f"a request without column {name!r} {reply.fault()}"
    return None


def stream_says_the_same(model: Subject) -> str | None:
    if "responses" not in str((model.meta.metadata or {}).get("task")):
        raise Skip("it is no ResponsesAgent")
    model.after("example-is-answered")
    events = list(model.pyfunc.predict_stream(model.body))
    kinds = [event["type"].removeprefix("response.") for event in events]
    if "output_item.done" not in kinds:
        return f"no response.output_item.done in the stream: {short(kinds)}"
    if "completed" in kinds[:-1]:
        return "response.completed is not the last event"
    deltas = "".join(e["delta"] for e in events if e["type"].endswith("text.delta"))
    items = [e["item"] for e in events if e["type"].endswith("output_item.done")]
    contents = [part for item in items for part in item.get("content") or []]
    text = "".join(part.get("text", "") for part in contents)
    if deltas in ("", text):
        return None
    return f"deltas {deltas!r:.80}, items {text!r:.80}"


# The processes. MLflow is imported once, in multiprocessing's fork server; each model
# is checked in a fork of it.


def find(model: str) -> str:
    """Return a model's folder; CheckError if it isn't there or can't be checked."""
    import mlflow

    folder, store = model, mlflow.get_tracking_uri()
    if not Path(model).exists():
        if ":/" not in model:
            raise CheckError("no such folder, and no URI of a model")
        file = Path(store.removeprefix("sqlite:///"))
        if store.startswith("sqlite:///") and not file.is_file():
            raise CheckError(f"no store at {file}: set MLFLOW_TRACKING_URI")
        folder = mlflow.artifacts.download_artifacts(model)
    if not (Path(folder) / "MLmodel").is_file():
        raise CheckError("no MLmodel in it: not a logged model")
    flavors = mlflow.models.Model.load(folder).flavors
    pyfunc = flavors.get("python_function", {})
    if not {"model_code_path", "python_model"} & pyfunc.keys():
        raise CheckError(f"not from code, but of flavor {', '.join(flavors)}")
    os.environ["MLFLOW_TRACKING_URI"] = store
    return str(Path(folder).resolve())


def examine(job: dict[str, Any], todo: list[str], place: str, pipe: Any) -> None:
    """Run the checks in this process, which is the model's own; send each result."""
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    warnings.simplefilter("ignore")
    logging.disable()
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.path = [p for p in sys.path if p.startswith((sys.prefix, sys.base_prefix))]
    try:
        folder = find(job["model"])
        os.chdir(place)
        os.environ["TMPDIR"] = os.path.join(place, "tmp")
        os.mkdir(os.environ["TMPDIR"])
        tempfile.tempdir = None  # look again
        os.environ["MLFLOW_TRACE_SAMPLING_RATIO"] = "0"  # none into the store
        model = Subject(folder, job["call"], job["statuses"])
        pipe.send(folder)
    except Exception as error:
        pipe.send(
            error if isinstance(error, CheckError) else CheckError(one_line(error))
        )
        os._exit(0)
    for name in todo:
        try:
            outcome = result(name, globals()[name.replace("-", "_")](model))
        except Skip as reason:
            outcome = result(name, str(reason), "skipped")
        except Exception as error:
            outcome = result(name, f"check-model failed: {one_line(error)}", "skipped")
        model.statuses[name] = outcome.status
        pipe.send(outcome)
    os._exit(0)


def receive(pipe: Any, results: list[Result], limit: float) -> str:
    """Take results until there are no more; return why, "" when all is done."""
    found = False
    while len(results) < len(table()):
        fault = "" if pipe.poll(limit) else f"no end after {limit:g} s"
        try:
            message = fault or pipe.recv()
        except EOFError:
            message = fault = "its process crashes"
        if isinstance(message, CheckError) or fault and not found:
            raise CheckError(f"{message}")
        if fault:
            return fault
        found = True
        results += [message] if isinstance(message, Result) else []
    return ""


def check_model(
    model: str, call: bool = False, env_manager: str = "local", limit: float = LIMIT
) -> list[Result]:
    """Return the result of each check of a model: its folder, or its URI in the store.

    With `call` it may ask other hosts; `env_manager="uv"` runs it in an environment
    made of its requirements. CheckError if it can't be checked.
    """
    if env_manager == "uv":
        return check_isolated(model, call, limit)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["mlflow.pyfunc.scoring_server"])
    results: list[Result] = []
    while len(results) < len(table()):
        statuses = {outcome.name: outcome.status for outcome in results}
        todo = list(table())[len(results) :]
        job = {"model": str(model), "call": call, "statuses": statuses}
        job["environment"] = dict(os.environ)
        ours, theirs = processes.Pipe(False)
        with tempfile.TemporaryDirectory() as place:
            process = processes.Process(target=examine, args=(job, todo, place, theirs))
            process.start()
            theirs.close()
            try:
                fault = receive(ours, results, limit)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid or 0, signal.SIGKILL)
                process.join()
                ours.close()
        if fault:
            results.append(result(todo[len(results) - len(statuses)], fault, "error"))
    return results


def check_isolated(model: str, call: bool, limit: float) -> list[Result]:
    """Return the results from an environment with the model's requirements alone."""
    folder = find(model)
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    command = [
        uv,
        "run",
        "-q",
        "--no-project",
        "--isolated",
        "--python",
        sys.executable,
    ]
    command += [
        "--with-requirements",
        f"{folder}/requirements.txt",
        "--",
        "python",
        "-I",
    ]
    command += [
        __file__,
        folder,
        "--json",
        f"--limit={limit}",
        *["--call"][: int(call)],
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise CheckError(done.stderr.strip().splitlines()[-1])
    return [Result(**row) for row in json.loads(done.stdout)["results"]]


def main() -> int:
    """Check one model; 0 without errors, 1 with errors, 2 if it can't be checked."""
    about = str(__doc__).splitlines()[0]
    parser = argparse.ArgumentParser("check-model", description=about)
    parser.add_argument("model", help="models:/name/version, runs:/id/name or a folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--call", action="store_true", help="let it ask other hosts")
    parser.add_argument("--env-manager", choices=["local", "uv"], default="local")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds a check")
    options = vars(parser.parse_args())
    return print_check(**options)


def print_check(model: str, json: bool = False, **options: Any) -> int:
    """Check the model and print what is to be said of it; return the exit code."""
    try:
        results = check_model(model, **options)
    except CheckError as error:
        print(f"check-model: {model}: {error}", file=sys.stderr)
        return 2
    print(report(model, results, json))
    return int(any(outcome.status == "error" for outcome in results))


def report(model: str, results: list[Result], as_json: bool = False) -> str:
    """Return all results as JSON, or errors, advice and what was skipped to read."""
    statuses = [outcome.status for outcome in results]
    counts = {name: statuses.count(name) for name in ("error", "advice", "skipped")}
    if as_json:
        rows = [outcome._asdict() for outcome in results]
        return json.dumps({"model": model, **counts, "results": rows}, indent=1)
    lines = [str(r) for status in counts for r in results if r.status == status]
    numbers = ", ".join(f"{number} {name}" for name, number in counts.items())
    return "\n".join([*lines, f"{model}: {len(results)} checks: {numbers}"])


if __name__ == "__main__":
    sys.exit(main())
