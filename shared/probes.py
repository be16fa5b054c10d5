"""The checks of check-model, in the process that loads the model and asks it.

Each check is a generator of findings, of which the first is told; Skip says why it does
not apply. check.md has a row for each, in the order in which they run.
"""

import ast
import functools
import importlib.metadata
import importlib.util
import json
import logging
import math
import os
import re
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

LONGEST = 2000  # characters of an error that somebody still reads
LARGE = 2**30  # bytes that each worker of each deployment has to fetch
READABLE = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/")  # by any program
LOCAL = ("127.", "localhost", "::1")
CHANGERS = {"append", "appendleft", "extend"}  # methods that change a list
VOLATILE = {"id", "item_id", "call_id", "created", "created_at"}  # fields of messages
SECRET_NAME = re.compile(r"(.*_)?(key|token|secret|password)", re.I)
SECRET = re.compile(
    r"\bsk-(?=[\w-]*\d)[\w-]{20,}|\bAKIA[0-9A-Z]{16}\b|\bgh[pos]_\w{30,}|\bhf_[A-Za-z]{30,}"
    r"|\bxox[bp]-[\w-]{10,}|\bAIza[\w-]{35}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|://[^/\s:@]+:[^/\s:@{}$]+@"
)
PINNED = re.compile(r"[^=<>~!]+(===?\s*[^=<>~!*]+|@\s*\S+)(;.*)?")

# What must not be in the model's texts, calls, files and requirements.
UNPICKLE = (
    r"(pickle|cloudpickle|dill|joblib)\.loads?\(|pandas\.read_pickle\("
    r"|numpy\.load\(.*allow_pickle=True"
)
STORE = r"mlflow\.(set_(tracking_uri|registry_uri|experiment)|start_run|pyfunc\.load_model)\("
MOVING_NAME = r"models:/[^/@]+(@.+|/[A-Za-z]+)$"
MACHINE_PATH = r"(file://)?(/(home|Users|root|mnt|tmp|data|opt)/|[A-Za-z]:[\\/]|~/)\w"
STRAY_FILE = r"(.*/)?(\.env|\.git|\.venv|\.ssh|\.aws|\.netrc|\.pypirc|id_rsa)(/|$)"
OTHER_INDEX = r"(-i|-f|--(extra-)?index-url|--find-links)\b|.*://"


class CheckError(Exception):
    """The model could not be checked; the message says why in one line."""


class Skip(Exception):
    """The check does not apply to this model; the message says why."""


class Code:
    """The syntax trees of the model's file, first, and of what came with it."""

    def __init__(self, folder: Path, main: str) -> None:
        paths = [folder / main, *sorted(folder.glob("code/**/*.py"))]
        names = [path.relative_to(folder).as_posix() for path in paths]
        self.main = main
        trees = [ast.parse(path.read_bytes()) for path in paths]
        self.trees = dict(zip(names, trees, strict=True))

    def nodes(self, kind: Any, walk: Any = ast.walk) -> Iterator[tuple[str, Any]]:
        """Yield the nodes of that kind with their places, file:line."""
        for name, tree in self.trees.items():
            for node in walk(tree):
                if isinstance(node, kind):
                    yield f"{name}:{node.lineno}", node

    def calls(self, walk: Any = ast.walk) -> Iterator[tuple[str, str]]:
        """Yield the calls under their full names: joblib.load(x) for `load(x)`."""
        full_names = {}
        for _, node in self.nodes(ast.Import | ast.ImportFrom):
            module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                full_names[alias.asname or alias.name] = f"{module}{alias.name}"
        for place, node in self.nodes(ast.Call, walk):
            first, *rest = re.split(r"\b", ast.unparse(node).lstrip("("), maxsplit=2)[
                1:
            ]
            yield place, full_names.get(first, first) + "".join(rest)

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield the strings that are no docstrings."""
        prose = {id(node.value) for _, node in self.nodes(ast.Expr)}
        for place, node in self.nodes(ast.Constant):
            if isinstance(node.value, str) and id(node) not in prose:
                yield place, node.value


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the node and what of it runs when MLflow imports the file."""
    functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    if not isinstance(node, functions) and not is_if(node, "__name__"):
        yield node
        for part in ast.iter_child_nodes(node):
            yield from at_import(part)


def is_if(node: ast.AST, word: str) -> bool:
    return isinstance(node, ast.If) and word in ast.unparse(node.test)


def needed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the node and what of it the model can't do without."""
    optional = isinstance(node, ast.Try) or is_if(node, "TYPE_CHECKING")
    if not optional and not is_if(node, "__name__"):
        yield node
        for part in ast.iter_child_nodes(node):
            yield from needed(part)


def reached(model_class: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    """Yield predict and predict_stream, and the methods that they call."""
    methods = {n.name: n for n in model_class.body if isinstance(n, ast.FunctionDef)}
    waiting = ["predict", "predict_stream"]
    while waiting:
        method = methods.pop(waiting.pop(), None)
        if method:
            yield method
            attributes = [n for n in ast.walk(method) if isinstance(n, ast.Attribute)]
            waiting += [node.attr for node in attributes]


def changed(method: ast.FunctionDef, lists: set[str]) -> Iterator[str]:
    """Yield what of the object, of globals and of these lists the method changes.

    `if self.client is None: self.client = ...` and what is done with a lock is allowed.
    """
    allowed: set[ast.AST] = set()
    for node in ast.walk(method):
        if is_if(node, "self.") or is_locked(node):
            allowed |= set(ast.walk(node))
        if node in allowed:
            continue
        if isinstance(node, ast.Global):
            yield node.names[0]
        if isinstance(node, ast.Attribute | ast.Subscript):
            name = ast.unparse(node)
            owner, _, attribute = name.rpartition(".")
            if name.startswith("self.") and isinstance(node.ctx, ast.Store):
                yield name
            if attribute in CHANGERS and (owner in lists or "self." in owner[:5]):
                yield owner


def is_locked(node: ast.AST) -> bool:
    if not isinstance(node, ast.With):
        return False
    return any("lock" in ast.unparse(item).lower() for item in node.items)


def is_pickle(file: Path) -> bool:
    """Tell a pickle, or a zip that holds one, by its name or its content."""
    if {".pkl", ".pickle", ".joblib"} & {*file.suffixes}:
        return True
    if zipfile.is_zipfile(file):
        return any(n.endswith(".pkl") for n in zipfile.ZipFile(file).namelist())
    with file.open("rb") as content:
        if not re.match(b"\x80[\2-\5]", content.read(2)):
            return False
        content.seek(-1, os.SEEK_END)
        return content.read() == b"."


def brought_by(requirements: list[str]) -> tuple[set[str], set[str]]:
    """Return the packages that the requirements bring, and those not installed here."""
    brought: set[str] = set()
    absent: set[str] = set()
    waiting = list(requirements)
    while waiting:
        line = waiting.pop()
        name = canonical(re.split(r"[^\w.-]", line)[0])
        extras = line.partition("[")[2].partition("]")[0]
        if name in brought and not extras:
            continue
        brought.add(name)
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            absent.add(name)
            continue
        for line in lines:
            extra = re.search(r"extra == ['\"](.*?)['\"]", line)
            if not extra or extra[1] in extras:
                waiting.append(line)
    return brought, absent


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


class Watch:
    """Note what the model's own code opens, and which hosts and keys it asks for."""

    def __init__(self, folder: Path, call: bool) -> None:
        self.folder = f"{folder}{os.sep}"
        self.call = call
        self.closed = False  # whether no host at all can be reached
        self.phase = "when it is loaded"
        self.files: list[str] = []
        self.hosts: list[str] = []
        self.refused: list[str] = []
        self.keys: set[str] = set()  # that were not there
        own = (self.folder, tempfile.gettempdir(), sys.prefix, sys.base_prefix)
        self.readable = (*own, *READABLE)
        look_up = os._Environ.__getitem__

        def noting(environment: Any, name: Any) -> Any:
            if name not in environment._data and SECRET_NAME.fullmatch(str(name)):
                self.keys.add(name)
            return look_up(environment, name)

        setattr(os._Environ, "__getitem__", noting)  # noqa: B010
        sys.addaudithook(self.note)

    def note(self, event: str, values: tuple[Any, ...]) -> None:
        """Take an audit event of Python's; OSError for a host not to be asked."""
        if event == "open" and isinstance(values[0], str | bytes):
            path = os.path.abspath(os.fsdecode(values[0]))
            place = None if path.startswith(self.readable) else self.own_place()
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
            self.refused.append(self.hosts[-1])
            raise OSError(f"check-model asks no other host without --call: {host}")
        if self.closed:
            raise OSError(f"check-model lets it reach no host now: {host}")

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

    def bad_refusal(self) -> Iterator[str]:
        """Yield what is wrong with it as an error, if it is one."""
        if self.traceback:
            yield f"ends in a traceback: {self.text.splitlines()[-1]:.200}"
        if self.status not in (200, 400):
            yield f"has status {self.status}: {self.text:.80}"
        if self.status != 200 and len(self.text) > LONGEST:
            yield f"is refused in {len(self.text):,} characters"


class Subject:
    """The model that is checked: its files, its code, and itself when it is loaded."""

    def __init__(self, name: str, call: bool) -> None:
        from mlflow.models import Model

        self.folder = find(name)
        self.passed: set[str] = set()  # the checks that found nothing
        self.meta = Model.load(str(self.folder))
        self.pyfunc_flavor = self.meta.flavors["python_function"]
        self.files = [file for file in self.folder.rglob("*") if file.is_file()]
        self.config = self.pyfunc_flavor.get("config") or {}
        self.task = str((self.meta.metadata or {}).get("task", ""))
        self.run_params = run_params(self.meta.run_id) if ":/" in name else {}
        self.seconds = 0.0  # that one answer takes
        self.keys_at_load: set[str] = set()  # without which it does not load
        self.watch = Watch(self.folder, call)

    def after(self, name: str) -> None:
        """Skip the check unless that other one found nothing."""
        if name not in self.passed:
            raise Skip(f"{name} comes first")

    @functools.cached_property
    def code(self) -> Code:
        main = self.pyfunc_flavor.get("model_code_path")
        if not main:
            raise Skip("there is no code to read")
        # An absolute path, of the system that the model was logged on.
        return Code(self.folder, PureWindowsPath(main).name)

    @functools.cached_property
    def requirements(self) -> list[str]:
        """Return the lines of requirements.txt, without comments and hashes."""
        file = self.folder / "requirements.txt"
        lines = file.read_text("utf-8").splitlines() if file.is_file() else []
        lines = [re.split(r"(^|\s)#|\s--hash|\\$", line)[0].strip() for line in lines]
        return [line for line in lines if line]

    @property
    def packages(self) -> list[str]:
        """Return the requirements that name a package of an index."""
        return [r for r in self.requirements if r[0] != "-" and "/" not in r]

    def load(self) -> Any:
        """Load the model without the keys of the environment."""
        import mlflow

        keys = {n: v for n, v in os.environ.items() if SECRET_NAME.fullmatch(n)}
        keys = {n: v for n, v in keys.items() if not n.startswith("MLFLOW_")}
        for name in keys:
            del os.environ[name]
        folder = str(self.folder)
        load = functools.partial(mlflow.pyfunc.load_model, suppress_warnings=True)
        loaded, self.keys_at_load = self.with_keys(lambda: load(folder))
        os.environ.update(keys)
        self.watch.phase = "when it predicts"
        return loaded

    def with_keys(self, act: Callable[[], Any]) -> tuple[Any, set[str]]:
        """Return act() and the keys without which it fails: they become "none"."""
        try:
            return act(), set()
        except Exception:
            missing = self.watch.keys - os.environ.keys()
            if not missing:
                raise
            os.environ.update(dict.fromkeys(missing, "none"))
            return act(), missing

    @functools.cached_property
    def pyfunc(self) -> Any:
        raise Skip("it does not load")  # `loads` puts it here

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
        self.after("has-example")
        file = self.folder / "serving_input_example.json"
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
        if "inputs" in self.body:
            return self.body | {"inputs": [row.get(None, row) for row in rows]}
        split = {"columns": [*rows[0]], "data": [[*row.values()] for row in rows]}
        return self.body | {"dataframe_split": split}

    def ask_rows(self, rows: list[dict[Any, Any]]) -> Reply:
        return self.ask(self.with_rows(rows))

    def ask_cell(self, name: Any, value: Any, times: int = 1) -> Reply:
        """Ask with that value in the first row, and the rows so many times."""
        return self.ask_rows([self.rows[0] | {name: value}, *(self.rows * times)[1:]])

    @functools.cached_property
    def numbers(self) -> list[tuple[Any, Any]]:
        """Return the first row's numbers that change the answer, with their columns."""
        used = []
        for name, value in self.rows[0].items():
            if type(value) in (int, float):
                other = self.ask_cell(name, value + 1).answer
                if not same(other, self.first):
                    used.append((name, value))
        if not used:
            raise Skip("no number of the example changes the answer")
        return used

    @functools.cached_property
    def batch(self) -> list[tuple[dict[Any, Any], Any]]:
        """Return rows, at least two, with their answers; Skip without one for each."""
        self.after("answers-repeat")
        rows = self.rows if len(self.rows) > 1 else [*self.rows, varied(self.rows[0])]
        answers = self.ask_rows(rows).answer
        if not isinstance(answers, list) or len(answers) != len(rows):
            raise Skip("it does not give one answer for each row")
        return list(zip(rows, answers, strict=True))


def same(one: Any, other: Any) -> bool:
    """Compare answers, floats up to rounding; ids and times of messages don't count."""
    if isinstance(one, dict) and isinstance(other, dict):
        is_message = {"object", "type", "role"} & one.keys()
        names = (one.keys() | other.keys()) - (VOLATILE if is_message else set())
        return all(same(one.get(name), other.get(name)) for name in names)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        missing = math.isnan(one) and math.isnan(other)
        return missing or math.isclose(one, other, rel_tol=1e-5, abs_tol=1e-9)
    return bool(one == other)


def varied(row: dict[Any, Any]) -> dict[Any, Any]:
    """Return the row with other numbers and texts."""
    other = dict(row)
    for name, value in row.items():
        if type(value) in (int, float):
            other[name] = value + 1
        elif isinstance(value, str):
            other[name] = f"{value} x"
    return other


def short(value: Any) -> str:
    """Return a value as at most 80 characters of JSON."""
    return f"{json.dumps(value):.80}"


def one_line(error: BaseException) -> str:
    """Return kind and message of an error's first cause, in at most 300 characters."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def in_column(value: Any, name: Any) -> str:
    return short(value) if name is None else f"{short(value)} in column {name!r}"


def matching(pattern: str, texts: Iterator[tuple[str, str]]) -> Iterator[str]:
    """Yield the texts that begin like the pattern, with their places."""
    return (f"{place}: {text:.80}" for place, text in texts if re.match(pattern, text))


# The checks of its files and its code.


def is_code(model: Subject) -> Iterator[str]:
    pickled = model.pyfunc_flavor.get("python_model")
    if pickled:
        yield f"the model is a pickled object, {pickled}"


def no_pickle_inside(model: Subject) -> Iterator[str]:
    yield from matching(UNPICKLE, model.code.calls())
    yield from (f"{file.name} is a pickle" for file in model.files if is_pickle(file))


def set_model_last(model: Subject) -> Iterator[str]:
    is_set = False
    for statement in model.code.trees[model.code.main].body:
        calls = [n for n in at_import(statement) if isinstance(n, ast.Call)]
        names = [ast.unparse(call.func) for call in calls]
        if is_set and names:
            place = f"{model.code.main}:{statement.lineno}"
            yield f"{place}: {names[0]}() runs after set_model"
        is_set = is_set or any(name.endswith("set_model") for name in names)
    if not any("set_model(" in text for _, text in model.code.calls()):
        yield f"{model.code.main} does not call set_model"


def store_untouched(model: Subject) -> Iterator[str]:
    yield from matching(STORE, model.code.calls(at_import))


def no_state(model: Subject) -> Iterator[str]:
    lists = set()  # that the files may have as globals
    for tree in model.code.trees.values():
        for statement in tree.body:
            if isinstance(statement, ast.Assign):
                lists |= {ast.unparse(target) for target in statement.targets}
    for place, node in model.code.nodes(ast.ClassDef):
        for method in reached(node):
            for name in changed(method, lists):
                yield f"{place}: {node.name}.{method.name} changes {name}"


def parts_pinned(model: Subject) -> Iterator[str]:
    yield from matching(MOVING_NAME, model.code.texts())


def no_machine_paths(model: Subject) -> Iterator[str]:
    config = [(f"model_config: {n}", str(v)) for n, v in model.config.items()]
    yield from matching(MACHINE_PATH, iter(config))
    yield from matching(MACHINE_PATH, model.code.texts())


def no_secrets(model: Subject) -> Iterator[str]:
    schema = model.meta.get_params_schema()
    defaults = {p.name: p.default for p in schema.params} if schema else {}
    named = {"model_config": model.config, "the signature's params": defaults}
    named["the run's params"] = model.run_params
    for place, values in named.items():
        for name, value in values.items():
            by_name = SECRET_NAME.fullmatch(name) and value and isinstance(value, str)
            if by_name or SECRET.search(str(value)):
                yield f"{place}: {name!r}"
    for file in model.files:
        if file.stat().st_size < 10**6:
            hit = SECRET.search(file.read_text("utf-8", errors="ignore"))
            if hit:
                yield f"{file.relative_to(model.folder)} holds {hit[0][:6]}..."


def no_stray_files(model: Subject) -> Iterator[str]:
    paths = [file.relative_to(model.folder).as_posix() for file in model.files]
    yield from matching(STRAY_FILE, (("it holds", path) for path in paths))


def not_large(model: Subject) -> Iterator[str]:
    sizes = [(file.stat().st_size, file.name) for file in model.files]
    total = sum(size for size, _ in sizes)
    largest, name = max(sizes)
    if total >= LARGE:
        yield f"{total / 1e9:.1f} GB, {largest / 1e9:.1f} of it {name}"


def package_names_free(model: Subject) -> Iterator[str]:
    for path in sorted(model.folder.glob("code/*")):
        if path.suffix in ("", ".py") and importlib.util.find_spec(path.stem):
            yield f"code/{path.name}: a package of that name is installed"


# The checks of its requirements and its signature.


def requirements_pinned(model: Subject) -> Iterator[str]:
    if not model.requirements:
        yield "it has no requirements"
    yield from (line for line in model.packages if not PINNED.fullmatch(line))


def requirements_complete(model: Subject) -> Iterator[str]:
    model.after("loads")  # which says what is not here at all
    brought, absent = brought_by(model.packages)
    paths = [*model.folder.glob("*"), *model.folder.glob("code/*")]
    own = {path.stem for path in paths} | sys.stdlib_module_names
    makers = importlib.metadata.packages_distributions()
    for place, node in model.code.nodes(ast.Import | ast.ImportFrom, needed):
        modules = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            modules = [] if node.level else [str(node.module)]
        for name in {module.split(".")[0] for module in modules} - own:
            if brought & {canonical(maker) for maker in [name, *makers.get(name, [])]}:
                continue
            if absent and not importlib.util.find_spec(name):
                raise Skip(f"not installed here: {', '.join(sorted(absent))}")
            yield f"{place}: imports {name}, which no requirement brings"


def one_index(model: Subject) -> Iterator[str]:
    lines = (("requirements.txt", line) for line in model.requirements)
    yield from matching(OTHER_INDEX, lines)


def no_uv_lock(model: Subject) -> Iterator[str]:
    lock = model.folder / "uv.lock"
    if lock.is_file():
        yield f"uv.lock names {lock.read_text('utf-8').count('[[package]]')} packages"


def has_signature(model: Subject) -> Iterator[str]:
    if not model.meta.signature or not model.meta.signature.inputs:
        yield "it has no signature"


def has_example(model: Subject) -> Iterator[str]:
    if not model.meta.saved_input_example_info:
        yield "it has no input example"


# The checks of the model as it runs.


def loads(model: Subject) -> Iterator[str]:
    try:
        model.__dict__["pyfunc"] = model.load()
    except Exception as error:
        if model.watch.files or model.watch.refused:
            raise Skip("it fails at what the next checks name") from None
        yield one_line(error)


def loads_without_network(model: Subject) -> Iterator[str]:
    yield from (f"asks {host}" for host in model.watch.hosts if "loaded" in host)


def loads_without_keys(model: Subject) -> Iterator[str]:
    if model.keys_at_load:
        yield f"does not load without {', '.join(sorted(model.keys_at_load))}"


def opens_own_files_only(model: Subject) -> Iterator[str]:
    yield from model.watch.files


def example_is_answered(model: Subject) -> Iterator[str]:
    model.after("has-example")
    example = model.meta.load_input_example(str(model.folder))
    pyfunc = model.pyfunc
    fault = None
    try:
        model.with_keys(lambda: pyfunc.predict(example))  # MLflow's own snippet
    except Exception as error:
        fault = f"model.predict(model.input_example): {one_line(error)}"
    if model.watch.refused:
        raise Skip(f"it asks {model.watch.refused[0]}; --call allows that")
    if fault:
        yield fault
    start = time.monotonic()
    reply = model.ask(model.body)
    model.seconds = time.monotonic() - start
    if reply.status != 200:
        yield f"over REST: {reply.text.strip()[-200:]}"


def params_arrive(model: Subject) -> Iterator[str]:
    schema = model.meta.get_params_schema()
    known = {param.name for param in schema.params} if schema else set()
    read = r"\bparams(?: or \{\}\))?(?:\.get\(|\[)'(\w+)'|'(\w+)' in params\b"
    for place, node in model.code.nodes(ast.ClassDef):
        for method in reached(node):
            if "params" in [argument.arg for argument in method.args.args]:
                for names in re.findall(read, ast.unparse(method)):
                    for name in {*names} - known - {""}:
                        yield f"{place}: {name!r} is read, the signature lacks it"


def answers_repeat(model: Subject) -> Iterator[str]:
    again = model.ask(model.body).answer
    if not same(again, model.first):
        yield f"the same request twice: {short(model.first)}, then {short(again)}"


def answers_json(model: Subject) -> Iterator[str]:
    model.after("example-is-answered")
    replies = {"the example": model.ask(model.body)}
    with suppress(Skip):
        for name, _ in model.numbers:
            for value in (None, 0, -1):
                replies[in_column(value, name)] = model.ask_cell(name, value)
    for what, reply in replies.items():
        without_strings = re.sub(r'"(\\.|[^"\\])*"', "", reply.text)
        hit = re.search("NaN|Infinity", without_strings)
        if reply.status == 200 and hit:
            yield f"{what} is answered with {hit[0]}"


def reads_the_values(model: Subject) -> Iterator[str]:
    if not isinstance(model.first, list) or len(model.first) != len(model.rows[0]):
        return
    others = [varied(row) for row in model.rows]
    if others == model.rows:
        raise Skip("its example has no numbers and no texts")
    replies = [model.ask_rows(rows) for rows in (model.rows * 2, others)]
    if all(same(reply.answer, model.first) for reply in replies):
        asked = [short([*row.values()]) for row in (model.rows[0], others[0])]
        yield f"answers {short(model.first)} for {' and for '.join(asked)}"


def names_its_columns(model: Subject) -> Iterator[str]:
    outputs = model.meta.signature and model.meta.signature.outputs
    if model.task or not outputs or not outputs.has_input_names():
        raise Skip("the signature names no columns of the answer")
    row = model.first[0] if isinstance(model.first, list) else model.first
    names = {*row} if isinstance(row, dict) else set()
    if not {*outputs.required_input_names()} <= names <= {*outputs.input_names()}:
        columns = ", ".join(outputs.input_names())
        yield f"answers {short(row)}; the signature has {columns}"


def rows_apart(model: Subject) -> Iterator[str]:
    rows, answers = (
        [row for row, _ in model.batch],
        [answer for _, answer in model.batch],
    )
    for row, among in model.batch[:8]:
        alone = model.ask_rows([row]).answer
        if not same(alone, [among]):
            yield f"{short(row)} alone: {short(alone)}, among others: {short(among)}"
    others = {"in reverse": (rows[::-1], answers[::-1])}
    others["twice"] = (rows * 2, answers * 2)
    for how, (asked, expected) in others.items():
        seen = model.ask_rows(asked).answer
        if not same(seen, expected):
            yield f"{short(answers)}, and {short(seen)} with the rows {how}"
    for name in rows[0]:
        gap = model.ask_cell(name, None)
        if gap.status == 200 and len(gap.answer) != len(model.rows):
            yield f"{in_column(None, name)}: {len(gap.answer)} answers"


def threads_apart(model: Subject) -> Iterator[str]:
    model.after("answers-repeat")
    bodies = [model.body]
    with suppress(Skip):
        bodies = [model.with_rows([row]) for row, _ in model.batch[:8]]
    expected = [model.ask(body).answer for body in bodies]
    times = 8 * min(3, int(1 + 2 / (model.seconds * len(bodies) + 0.01)))
    sys.setswitchinterval(1e-5)  # threads meet more often
    with ThreadPoolExecutor(8) as pool:
        answers = [reply.answer for reply in pool.map(model.ask, bodies * times)]
    sys.setswitchinterval(0.005)
    pairs = zip(answers, expected * times, strict=True)
    other = [answer for answer, alone in pairs if not same(answer, alone)]
    if other:
        yield f"{len(other)} of {len(answers)} answers in 8 threads: {short(other[0])}"


def numbers_are_numbers(model: Subject) -> Iterator[str]:
    for name, value in model.numbers:
        for sent, number in ((True, 1), (str(value), value)):
            reply = model.ask_cell(name, sent)
            taken = model.ask_cell(name, number)
            if reply.status == 200 and same(reply.answer, taken.answer):
                yield f"{in_column(sent, name)} is taken for {number}"


def bad_values_are_refused_well(model: Subject) -> Iterator[str]:
    times = 200 if model.seconds < 0.05 else 1
    for name, _ in model.numbers:
        for value in ("no number", None):
            for fault in model.ask_cell(name, value, times).bad_refusal():
                yield f"{in_column(value, name)} {fault}"


def columns_are_checked(model: Subject) -> Iterator[str]:
    model.after("has-signature")
    model.after("answers-repeat")
    names = [name for name in model.rows[0] if isinstance(name, str)]
    if not names:
        raise Skip("its rows have no columns")
    for name in names:
        rows = [{n: row[n] for n in row if n != name} for row in model.rows]
        for fault in model.ask_rows(rows).bad_refusal():
            yield f"a request without column {name!r} {fault}"


def stream_says_the_same(model: Subject) -> Iterator[str]:
    if "responses" not in model.task:
        raise Skip("it is no ResponsesAgent")
    whole = text_of(model.first["output"])
    events = list(model.pyfunc.predict_stream(model.body))
    kinds = [event["type"].removeprefix("response.") for event in events]
    items = [event["item"] for event in events if event["type"].endswith("item.done")]
    deltas = [event for event in events if event["type"].endswith("text.delta")]
    if not items:
        yield f"no response.output_item.done in the stream: {short(kinds)}"
    if "completed" in kinds[:-1]:
        yield "response.completed is not the last event"
    if kinds[-1].endswith("text.delta"):
        yield "a delta comes after the end of its message"
    parts = {"items": text_of(items), "answer": whole}
    streamed = "".join(event["delta"] for event in deltas) or parts["items"]
    for what, text in parts.items():
        if text != streamed and ("answers-repeat" in model.passed or what == "items"):
            yield f"deltas {streamed!r:.80}, {what} {text!r:.80}"


def text_of(items: list[dict[str, Any]]) -> str:
    """Return the text of a response's items."""
    parts = [part for item in items for part in item.get("content") or []]
    return "".join(part.get("text", "") for part in parts)


def failure_is_told(model: Subject) -> Iterator[str]:
    if "agent" not in model.task:
        raise Skip("it is no agent")
    if not any("predicts" in host for host in model.watch.hosts):
        raise Skip("it asks no host")
    before = len(model.watch.hosts)
    model.watch.closed = True
    reply = model.ask(model.body)
    model.watch.closed = False
    if len(model.watch.hosts) == before:
        raise Skip("it keeps its connection")
    told = re.search('"(error|failed|incomplete)"', reply.text)
    if reply.status == 200 and not told:
        yield f"answers {short(reply.answer)} when no host can be reached"


# The process.


def find(model: str) -> Path:
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
    os.environ["MLFLOW_TRACKING_URI"] = store  # from any folder
    return Path(folder).resolve()


def run_params(run_id: str | None) -> dict[str, str]:
    """Return the params of the run that logged the model, if there was one."""
    import mlflow

    return dict(mlflow.MlflowClient().get_run(run_id).data.params) if run_id else {}


def examine(
    name: str,
    call: bool,
    checks: list[str],
    environment: dict[str, str],
    place: str,
    pipe: Any,
) -> None:
    """Check the model in this process, which is its own, in the empty folder `place`.

    Send None, or why it can't be checked; then status and finding of each check.
    """
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    warnings.simplefilter("ignore")
    logging.disable()
    os.environ.clear()
    os.environ.update(environment)
    os.environ["MLFLOW_TRACE_SAMPLING_RATIO"] = "0"  # no traces into the store
    os.environ["TMPDIR"] = tempfile.mkdtemp(dir=place)
    tempfile.tempdir = None  # look again
    sys.path = [p for p in sys.path if p.startswith((sys.prefix, sys.base_prefix))]
    try:
        model = Subject(name, call)
    except Exception as error:
        pipe.send(str(error) if isinstance(error, CheckError) else one_line(error))
        os._exit(0)
    pipe.send(None)
    os.chdir(place)
    for check in checks:
        try:
            finding = next(globals()[check.replace("-", "_")](model), "")
            outcome = ("found" if finding else "ok", finding)
        except Skip as reason:
            outcome = ("skipped", str(reason))
        except Exception as error:
            outcome = ("skipped", f"check-model failed: {one_line(error)}")
        if outcome[0] == "ok":
            model.passed.add(check)
        pipe.send(outcome)
    os._exit(0)
