"""What check-model reads in a logged model's files and code, before it is loaded.

Each check is a generator of findings, of which the first is told; Skip says why it does
not apply. checks.md has a row for each, in the order in which they run.
"""

import ast
import functools
import importlib.metadata
import importlib.util
import os
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PureWindowsPath
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

LARGE = 2**30  # bytes that each worker of each deployment has to fetch
CHANGERS = {"append", "appendleft", "extend"}  # methods that change a list
# Methods that change a list, a dict or a set; other objects have some of them too.
OTHER_CHANGERS = {"add", "clear", "discard", "insert", "pop", "popitem", "popleft"}
OTHER_CHANGERS |= {"remove", "setdefault", "update"}
CONTAINER = re.compile(
    r"[\[{]|(collections\.)?(list|dict|set|deque|defaultdict|Counter|OrderedDict)\("
)
OWN_TO_REQUEST = re.compile(r"(threading\.)?local\(|(contextvars\.)?ContextVar\(")
SECRET_NAME = re.compile(
    r"(?!(.*_)?((primary|foreign|sort|partition|group|join|cache|public)_key"
    r"|(bos|eos|pad|unk|sep|cls|mask|stop)_token)$)"  # no secrets
    r"(.*_)?(api|access|auth)?(key|token|secret|password)",
    re.I,
)
SECRET = re.compile(
    r"\bsk-(?=[\w-]*\d)[\w-]{20,}|\bAKIA[0-9A-Z]{16}\b|\bhf_[A-Za-z]{30,}"
    r"|\b(gh[pos]|github_pat)_\w{30,}|\bdapi[0-9a-f]{32}"
    r"|\bxox[bp]-[\w-]{10,}|\bAIza[\w-]{35}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|://[^/\s:@]+:[^/\s:@{}$]+@"
)
RANDOM = r"(?=[^\s]*\d)(?=[^\s]*[a-z])(?=[^\s]*[A-Z])\S{12,}|[0-9a-f]{24,}"
SETTINGS_FILE = {".ini", ".cfg", ".conf", ".toml", ".yaml", ".yml", ".json", ".env"}
SETTINGS_FILE |= {".properties"}
PASSWORD_LINE = re.compile(
    r"^\W*[\w.-]*(passw(or)?d|secret|(api|access|private)[_-]?key)[\"']?\s*[:=]\s*"
    r"[\"']?(?![$<{])(?=[^\s\"',]*\d)(?=[^\s\"',]*[a-z])[^\s\"',]{8,}",
    re.I | re.M,
)
WHEEL = re.compile(r"(.*/)?([\w.]+)-[^/]+\.whl")

# What must not be in the model's texts, calls, files and requirements.
UNPICKLE = (
    r"(pickle|cloudpickle|dill|joblib)\.loads?\(|pandas\.read_pickle\("
    r"|numpy\.load\(.*allow_pickle=True"
)
STORE = (
    r"mlflow\.(set_(tracking_uri|registry_uri|experiment)\(|start_run\(|log_\w+\("
    r"|(\w+\.)?load_model\()"
)
MOVING_NAME = r"models:/[^/@]+(@.+|/[A-Za-z]+)$"
MACHINE_PATH = r"(file://)?(/(home|Users|root|mnt|tmp|data|opt)/|[A-Za-z]:[\\/]|~/)\w"
HOME = r"(os\.path\.expanduser|pathlib\.Path\.home)\("
STRAY_FILE = r"(.*/)?(\.env|\.git|\.venv|\.ssh|\.aws|\.netrc|\.pypirc|id_rsa)(/|$)"
OTHER_INDEX = r"(-i|-f|--(extra-)?index-url|--find-links)\b|.*://"


class Skip(Exception):
    """The check does not apply to this model; the message says why."""


class Code:
    """The syntax trees of the model's file, first, and of what came with it."""

    def __init__(self, folder: Path, main: str) -> None:
        paths = [folder / main, *sorted(folder.glob("code/**/*.py"))]
        self.main = main
        self.trees = {}
        for path in paths:
            with suppress(SyntaxError, ValueError):  # a file that can't run either
                name = path.relative_to(folder).as_posix()
                self.trees[name] = ast.parse(path.read_bytes())
        if main not in self.trees:
            raise Skip(f"{main} is no Python code")

    def nodes(self, kind: Any, without: Any = None) -> Iterator[tuple[str, Any]]:
        """Yield the nodes of that kind with their places, file:line."""
        for name, tree in self.trees.items():
            for node in walk(tree, without) if without else ast.walk(tree):
                if isinstance(node, kind):
                    yield f"{name}:{node.lineno}", node

    def calls(self, without: Any = None) -> Iterator[tuple[str, str]]:
        """Yield the calls under their full names: joblib.load(x) for `load(x)`."""
        full_names = {}
        for place, node in self.nodes(ast.Import | ast.ImportFrom):
            file = place.partition(":")[0]
            module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                local_name = alias.asname or alias.name
                full_names[file, local_name] = f"{module}{alias.name}"
        for place, node in self.nodes(ast.Call, without):
            file = place.partition(":")[0]
            function = ast.unparse(node.func)
            first = function.split(".")[0]
            name = full_names.get((file, first), first) + function.removeprefix(first)
            yield place, name + ast.unparse(node).removeprefix(function)

    @functools.cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        return {node.name: node for _, node in self.nodes(ast.ClassDef)}

    @functools.cached_property
    def functions(self) -> dict[str, ast.FunctionDef]:
        """Return the functions that stand outside classes."""
        statements = [node for tree in self.trees.values() for node in tree.body]
        return functions_of(statements)

    def methods(self, model_class: ast.ClassDef) -> dict[str, ast.FunctionDef]:
        """Return the methods of a class and of its bases in these files."""
        found: dict[str, ast.FunctionDef] = {}
        for base in model_class.bases:
            parent = self.classes.get(ast.unparse(base).rpartition(".")[2])
            if parent and parent is not model_class:
                found |= self.methods(parent)
        return found | functions_of(model_class.body)

    @functools.cached_property
    def values(self) -> dict[str, str]:
        """Return the code of what globals, attributes and classes are set to."""
        found = dict.fromkeys(self.classes, "class")
        for tree in self.trees.values():
            found |= dict(assigned(tree.body))
        for node in self.classes.values():
            found |= {f"self.{name}": value for name, value in assigned(node.body)}
        return found | {
            name: value
            for _, method in self.nodes(ast.FunctionDef)
            for name, value in assigned(ast.walk(method))
            if name.startswith("self.")
        }

    def named_texts(self) -> Iterator[tuple[str, str, str]]:
        """Yield place, name and text of strings that are given a name."""
        for place, node in self.nodes(ast.Assign | ast.AnnAssign):
            for name, _ in assigned([node]):
                for part in ast.walk(node.value):
                    yield place, name.rpartition(".")[2], text_in(part)
        for place, node in self.nodes(ast.keyword):
            yield place, str(node.arg), text_in(node.value)
        for place, node in self.nodes(ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                yield place, text_in(key), text_in(value)

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield the strings that are no docstrings."""
        prose = {id(node.value) for _, node in self.nodes(ast.Expr)}
        for place, node in self.nodes(ast.Constant):
            if isinstance(node.value, str) and id(node) not in prose:
                yield place, node.value


class Files:
    """A logged model as it lies in its folder."""

    def __init__(self, folder: Path) -> None:
        from mlflow.models import Model

        self.folder = folder
        self.run_params: dict[str, str] = {}  # of the run that logged it
        self.passed: set[str] = set()  # the checks that found nothing
        self.meta = Model.load(str(folder))
        self.flavor = self.meta.flavors["python_function"]
        self.files = [file for file in folder.rglob("*") if file.is_file()]
        self.paths = [file.relative_to(folder).as_posix() for file in self.files]
        self.config = self.flavor.get("config") or {}
        self.task = str((self.meta.metadata or {}).get("task", ""))

    def skip_unless_passed(self, name: str) -> None:
        """Skip the check unless that other one found nothing."""
        if name not in self.passed:
            raise Skip(f"{name} comes first")

    @functools.cached_property
    def code(self) -> Code:
        main = self.flavor.get("model_code_path")
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
    def packages(self) -> list[Requirement]:
        """Return the requirements that name a package, from an index or an address."""
        return list(named(self.requirements))


def is_if(node: ast.AST, *words: str) -> bool:
    return isinstance(node, ast.If) and any(w in ast.unparse(node.test) for w in words)


def is_later(node: ast.AST) -> bool:
    """Tell what does not run when MLflow imports the file."""
    functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    return isinstance(node, functions) or is_if(node, "__name__")


def is_optional(node: ast.AST) -> bool:
    """Tell code that the model can do without."""
    return isinstance(node, ast.Try) or is_if(node, "__name__", "TYPE_CHECKING")


def text_in(node: ast.AST | None) -> str:
    """Return a string's value; "" for any other node."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return ""


def assigned(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    """Yield the code of the targets of assignments and of what they are set to."""
    for node in nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield ast.unparse(target), ast.unparse(node.value)
        elif isinstance(node, ast.AnnAssign) and node.value:
            yield ast.unparse(node.target), ast.unparse(node.value)


def functions_of(statements: Iterable[ast.AST]) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in statements if isinstance(node, ast.FunctionDef)}


def walk(node: ast.AST, without: Callable[[ast.AST], bool]) -> Iterator[ast.AST]:
    if not without(node):
        yield node
        for part in ast.iter_child_nodes(node):
            yield from walk(part, without)


def reached(model_class: ast.ClassDef, code: Code) -> Iterator[ast.FunctionDef]:
    """Yield predict and predict_stream, and the methods and functions they call."""
    methods = code.methods(model_class)
    waiting = [*({"predict", "predict_stream"} & methods.keys())]
    functions = code.functions | methods
    while waiting:
        function = functions.pop(waiting.pop(), None)
        if function:
            yield function
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute):
                    waiting.append(node.attr)
                elif isinstance(node, ast.Name):
                    waiting.append(node.id)


def outer_names(function: ast.FunctionDef, values: dict[str, str]) -> dict[str, str]:
    """Return what a function's names mean that outlives the call, as `values` does.

    Its own variables are left out, but not those that stand for an attribute of self
    or a default value, which all calls share.
    """
    nodes = list(ast.walk(function))
    stored = [n.id for n in nodes if isinstance(n, ast.Name) and is_stored(n)]
    own = {node.arg for node in nodes if isinstance(node, ast.arg)} | {*stored}
    found = {name: value for name, value in values.items() if name not in own}
    for name, value in assigned(nodes):
        if value.startswith("self.") and value in values and stored.count(name) == 1:
            found[name] = values[value]
    arguments = function.args.posonlyargs + function.args.args
    defaults = function.args.defaults
    for argument, default in zip(arguments[::-1], defaults[::-1], strict=False):
        if CONTAINER.match(ast.unparse(default)):
            found[argument.arg] = ast.unparse(default)
    return found


def is_stored(node: Any) -> bool:
    return isinstance(node.ctx, ast.Store | ast.Del)


def changed(function: ast.FunctionDef, values: dict[str, str]) -> Iterator[str]:
    """Yield what of the object and of what outlives the call the function changes.

    `if self.client is None: self.client = ...` and what is done with a lock is allowed,
    and what each thread or request has of its own or takes away again.
    """
    allowed: set[ast.AST] = set()
    values = outer_names(function, values)
    text = ast.unparse(function)
    own = tuple(f"{n}." for n, v in values.items() if OWN_TO_REQUEST.match(v))
    for node in ast.walk(function):  # an `if` or `with` comes before what is in it
        if is_first_use(node) or is_locked(node):
            allowed |= set(ast.walk(node))
        if node in allowed:
            continue
        if isinstance(node, ast.Global):
            yield node.names[0]
        if isinstance(node, ast.Attribute | ast.Subscript):
            name = ast.unparse(node).replace("type(self).", "self.")
            owner = ast.unparse(node.value).replace("type(self).", "self.")
            if f"{owner}.".startswith(own):
                continue
            if is_stored(node) and (name.startswith("self.") or owner in values):
                yield name
            method = name.rpartition(".")[2]
            is_shared = owner.startswith("self.") or owner in values
            if is_shared and method in CHANGERS:
                yield owner
            taken_away = f"{owner}.discard(" in text or f"{owner}.remove(" in text
            is_container = CONTAINER.match(values.get(owner, ""))
            if is_container and method in OTHER_CHANGERS and not taken_away:
                yield owner


def is_first_use(node: ast.AST) -> bool:
    """Tell an `if` that asks whether something of the object is still missing."""
    missing = r"self\..* is None|not self\.|not in "
    if not isinstance(node, ast.If) or not re.search(missing, ast.unparse(node.test)):
        return False
    for target, value in assigned(node.body):  # cache[x] = len(cache) isn't made of x
        if re.search(rf"\b{re.escape(target.partition('[')[0])}\b", value):
            return False
    return True


def is_locked(node: ast.AST) -> bool:
    items = node.items if isinstance(node, ast.With) else []
    lock = r"(?<![A-Za-z])(r?lock|R?LOCK)|Lock"
    return any(re.search(lock, ast.unparse(item)) for item in items)


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


def named(lines: Iterable[str]) -> Iterator[Requirement]:
    """Yield the requirements that say which package they bring, by name or wheel."""
    for line in lines:
        wheel = WHEEL.fullmatch(line)
        with suppress(InvalidRequirement):  # an option, a folder or an address
            yield Requirement(f"{wheel[2]} @ {line}" if wheel else line)


def brought_by(requirements: list[Requirement]) -> tuple[set[str], set[str]]:
    """Return the packages that the requirements bring, and those not installed here."""
    brought: set[tuple[str, str]] = set()  # packages, each with one of its extras
    absent: set[str] = set()
    waiting = [(requirement, "") for requirement in requirements]
    while waiting:
        requirement, extra_of_parent = waiting.pop()
        marker = requirement.marker
        if marker and not marker.evaluate({"extra": extra_of_parent}):
            continue
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras} - {e for n, e in brought if n == name}:
            brought.add((name, extra))
            try:
                lines = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                absent.add(name)
            else:
                waiting += [(part, extra) for part in named(lines)]
    return {name for name, _ in brought}, absent


@functools.cache
def providers(module: str) -> set[str]:
    """Return the installed packages that a module comes from; takes a second."""
    packages = importlib.metadata.packages_distributions().get(module, [])
    return {canonicalize_name(package) for package in packages}


def settings(values: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested dicts and lists, with the keys that they are under."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from settings(value, str(key))
    elif isinstance(values, list):
        for value in values:
            yield from settings(value, name)
    else:
        yield name, values


def matching(pattern: str, texts: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the texts that begin like the pattern, with their places."""
    return (f"{place}: {text:.80}" for place, text in texts if re.match(pattern, text))


# The checks.


def is_code(model: Files) -> Iterator[str]:
    if "python_model" in model.flavor:
        yield f"the model is a pickled object, {model.flavor['python_model']}"


def no_pickle_inside(model: Files) -> Iterator[str]:
    yield from matching(UNPICKLE, model.code.calls())
    yield from (f"{file.name} is a pickle" for file in model.files if is_pickle(file))


def set_model_last(model: Files) -> Iterator[str]:
    is_set = False
    for statement in model.code.trees[model.code.main].body:
        calls = [n for n in walk(statement, is_later) if isinstance(n, ast.Call)]
        names = [ast.unparse(call.func) for call in calls]
        if is_set and names:
            place = f"{model.code.main}:{statement.lineno}"
            yield f"{place}: {names[0]}() runs after set_model"
        is_set = is_set or any(name.endswith("set_model") for name in names)
    if not any("set_model(" in text for _, text in model.code.calls()):
        yield f"{model.code.main} does not call set_model"


def store_untouched(model: Files) -> Iterator[str]:
    return matching(STORE, model.code.calls(is_later))


def no_state(model: Files) -> Iterator[str]:
    for place, node in model.code.nodes(ast.ClassDef):
        for function in reached(node, model.code):
            for name in changed(function, model.code.values):
                yield f"{place}: {node.name}: {function.name} changes {name}"


def parts_pinned(model: Files) -> Iterator[str]:
    config = [(f"model_config: {n}", str(v)) for n, v in settings(model.config)]
    return matching(MOVING_NAME, [*config, *model.code.texts()])


def no_machine_paths(model: Files) -> Iterator[str]:
    config = [(f"model_config: {n}", str(v)) for n, v in settings(model.config)]
    yield from matching(MACHINE_PATH, [*config, *model.code.texts()])
    yield from matching(HOME, model.code.calls())


def no_secrets(model: Files) -> Iterator[str]:
    schema = model.meta.get_params_schema()
    defaults = {p.name: p.default for p in schema.params} if schema else {}
    named = {"model_config": model.config, "the signature's params": defaults}
    named["the run's params"] = model.run_params
    for place, values in named.items():
        for name, value in settings(values):
            by_name = SECRET_NAME.fullmatch(name) and value and isinstance(value, str)
            if by_name or SECRET.search(str(value)):
                yield f"{place}: {name!r}"
    for file in model.files:
        if file.stat().st_size < 10**6:
            text = file.read_text("utf-8", errors="ignore")
            hit = SECRET.search(text)
            if not hit and file.suffix in SETTINGS_FILE:
                hit = PASSWORD_LINE.search(text)
            if hit:
                start = hit[0].strip().splitlines()[0][:6]
                yield f"{file.relative_to(model.folder)} holds {start}..."
    with suppress(Skip):  # a model without code
        for place, name, text in model.code.named_texts():
            if SECRET_NAME.fullmatch(name) and re.fullmatch(RANDOM, text):
                yield f"{place}: {name} = {text[:3]}..."


def no_stray_files(model: Files) -> Iterator[str]:
    return matching(STRAY_FILE, [("it holds", path) for path in model.paths])


def not_large(model: Files) -> Iterator[str]:
    sizes = [(file.stat().st_size, file.name) for file in model.files]
    total = sum(size for size, _ in sizes)
    largest, name = max(sizes)
    if total >= LARGE:
        yield f"{total / 1e9:.1f} GB, {largest / 1e9:.1f} of it {name}"


def package_names_free(model: Files) -> Iterator[str]:
    for path in sorted(model.folder.glob("code/[!.]*")):
        if path.stem == __package__:  # check-model's own, which production lacks
            continue
        if path.suffix in ("", ".py") and importlib.util.find_spec(path.stem):
            yield f"code/{path.name}: a package of that name is installed"


def requirements_pinned(model: Files) -> Iterator[str]:
    if not model.requirements:
        yield "it has no requirements"
    for package in model.packages:
        pins = [pin for pin in package.specifier if pin.operator in ("==", "===")]
        if not package.url and all(pin.version.endswith("*") for pin in pins):
            yield str(package)


def requirements_complete(model: Files) -> Iterator[str]:
    model.skip_unless_passed("loads")  # which says what is not here at all
    brought, absent = brought_by(model.packages)
    paths = [*model.folder.glob("*"), *model.folder.glob("code/*")]
    own = {path.stem for path in paths} | sys.stdlib_module_names
    for place, node in model.code.nodes(ast.Import | ast.ImportFrom, is_optional):
        modules = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            modules = [] if node.level else [str(node.module)]
        for name in {module.split(".")[0] for module in modules} - own:
            if canonicalize_name(name) in brought or brought & providers(name):
                continue
            for line in model.requirements:
                if line[0] != "-" and not any(named([line])):
                    raise Skip(f"{line} does not name its package")
            if absent and not importlib.util.find_spec(name):
                raise Skip(f"not installed here: {', '.join(sorted(absent))}")
            yield f"{place}: imports {name}, which no requirement brings"


def one_index(model: Files) -> Iterator[str]:
    return matching(OTHER_INDEX, [("requires", line) for line in model.requirements])


def no_uv_lock(model: Files) -> Iterator[str]:
    return matching("uv.lock$", [("it holds", path) for path in model.paths])


def has_signature(model: Files) -> Iterator[str]:
    if not model.meta.signature:
        yield "it has no signature"


def has_example(model: Files) -> Iterator[str]:
    if not model.meta.saved_input_example_info:
        yield "it has no input example"
