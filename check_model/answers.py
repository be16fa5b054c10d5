"""What check-model sees of a model that is loaded and asked, in a process of its own.

Each check is a generator of findings, as in files.py.
"""

import functools
import json
import logging
import math
import os
import re
import site
import sys
import tempfile
import time
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from check_model import files
from check_model.files import SECRET_NAME, Files, Skip

LONGEST = 2000  # characters of an error that somebody still reads
READABLE = ("/proc/", "/sys/", "/dev/", "/etc/", "/usr/")  # by any program
INSTALLED = (sys.prefix, sys.base_prefix, site.getusersitepackages())
LOCAL = ("127.", "localhost", "::1")
VOLATILE = {"id", "item_id", "call_id", "created", "created_at"}  # fields of messages
PLACE = re.compile(r"\b[Rr]ow \d+")  # in an error's text


class CheckError(Exception):
    """The model could not be checked; the message says why in one line."""


class Watcher:
    """Note what the model's own code opens, and which hosts and keys it asks for."""

    def __init__(self, folder: Path, call: bool) -> None:
        self.folder = f"{folder}{os.sep}"
        self.call = call
        self.closed = False  # whether no host at all can be reached
        self.phase = "when it is loaded"
        self.files: list[str] = []
        self.hosts: list[str] = []
        self.refused: list[str] = []
        self.keys: set[str] = set()  # that were asked for
        self.readable = (self.folder, tempfile.gettempdir(), *INSTALLED, *READABLE)
        look_up = os._Environ.__getitem__

        def noting(environment: Any, name: Any) -> Any:
            if SECRET_NAME.fullmatch(str(name)):
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


class LoadedModel(Files):
    """The model that is checked, as it is loaded and asked."""

    def __init__(self, name: str, call: bool) -> None:
        folder = model_folder(name)
        super().__init__(folder)
        self.run_params = run_params(name, self.meta.run_id)
        forget_connections()
        self.loaded: Any = None  # until `loads` has passed
        self.seconds = 0.0  # that one answer takes
        self.keys_at_load: set[str] = set()  # without which it does not load
        self.watch = Watcher(folder, call)

    def with_keys(self, act: Callable[[], Any]) -> tuple[Any, set[str]]:
        """Return act() and the keys without which it fails: they become "none"."""
        with suppress(Exception):
            return act(), set()
        missing = self.watch.keys - os.environ.keys()
        os.environ.update(dict.fromkeys(missing, "none"))
        return act(), missing

    @property
    def pyfunc(self) -> Any:
        self.skip_unless_passed("loads")
        return self.loaded

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
        except Exception:  # such as an answer that can't be written as JSON
            return Reply(500, traceback.format_exc(), True)

    @functools.cached_property
    def body(self) -> dict[str, Any]:
        """Return the input example as the body of a request."""
        self.skip_unless_passed("has-example")
        file = self.folder / "serving_input_example.json"
        if not file.is_file():
            raise Skip("its MLflow kept no request with the example")
        return dict(json.loads(file.read_text("utf-8")))

    @functools.cached_property
    def first(self) -> Any:
        """Return the answer to the input example."""
        self.skip_unless_passed("example-is-answered")
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
    def cells(self) -> list[tuple[Any, Any]]:
        """Return the first row's numbers and texts that change the answer."""
        row, other = self.rows[0], vary(self.rows[0])
        names = [name for name in row if other[name] != row[name]]
        answers = {name: self.ask_cell(name, other[name]).answer for name in names}
        used = [name for name in names if not is_same(answers[name], self.first)]
        if not used:
            raise Skip("the example has no value that the answer depends on")
        return [(name, row[name]) for name in used]

    @property
    def numbers(self) -> list[tuple[Any, Any]]:
        """Return those that are numbers."""
        numbers = [cell for cell in self.cells if not isinstance(cell[1], str)]
        if not numbers:
            raise Skip("the example has no number that the answer depends on")
        return numbers

    @functools.cached_property
    def batch(self) -> list[tuple[dict[Any, Any], Any]]:
        """Return rows, at least two, with their answers; Skip without one for each."""
        self.skip_unless_passed("answers-repeat")
        rows = self.rows
        if len(rows) == 1:
            others = [vary(rows[0]), vary(rows[0], texts=False)]
            accepted = [row for row in others if self.ask_rows([row]).status == 200]
            rows = [*rows, *accepted, *rows][:2]
        answers = self.ask_rows(rows).answer
        if not isinstance(answers, list) or len(answers) != len(rows):
            raise Skip("it does not give one answer for each row")
        return list(zip(rows, answers, strict=True))


def is_same(one: Any, other: Any, tolerance: float = 1e-5) -> bool:
    """Compare answers, floats up to that fraction.

    Ids and times of messages don't count, nor the row's number in an error's text.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        is_message = {"object", "type", "role"} & one.keys()
        names = (one.keys() | other.keys()) - (VOLATILE if is_message else set())
        return all(is_same(one.get(name), other.get(name), tolerance) for name in names)
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return False
        pairs = zip(one, other, strict=True)
        return all(is_same(*pair, tolerance) for pair in pairs)
    if isinstance(one, float) and isinstance(other, float):
        missing = math.isnan(one) and math.isnan(other)
        return missing or math.isclose(one, other, rel_tol=tolerance, abs_tol=1e-9)
    if isinstance(one, str) and isinstance(other, str):
        return PLACE.sub("", one) == PLACE.sub("", other)
    return bool(one == other)


def vary(row: dict[Any, Any], texts: bool = True) -> dict[Any, Any]:
    """Return the row with other numbers and, unless told otherwise, other texts."""
    other = dict(row)
    for name, value in row.items():
        if type(value) in (int, float):
            other[name] = value + 1
        elif isinstance(value, str) and texts:
            other[name] = f"{value} x"
    return other


def short(value: Any) -> str:
    """Return a value as at most 80 characters of JSON."""
    return f"{json.dumps(value):.80}"


def one_line(error: BaseException) -> str:
    """Return kind and message of an error's first cause, in at most 300 characters."""
    cause: BaseException | None = error
    while cause:
        error = cause
        hidden = error.__suppress_context__
        cause = error.__cause__ or (None if hidden else error.__context__)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def in_column(value: Any, name: Any) -> str:
    return short(value) if name is None else f"{short(value)} in column {name!r}"


def loads_without_network(model: LoadedModel) -> Iterator[str]:
    return (f"asks {host}" for host in model.watch.hosts)  # before any request


def loads_without_keys(model: LoadedModel) -> Iterator[str]:
    return (f"does not load without {key}" for key in sorted(model.keys_at_load))


def opens_own_files_only(model: LoadedModel) -> Iterator[str]:
    return iter(model.watch.files)


def loads(model: LoadedModel) -> Iterator[str]:
    """Load it without the keys of the environment; it has them back to predict."""
    from mlflow.pyfunc import load_model

    keys = {n: v for n, v in os.environ.items() if SECRET_NAME.fullmatch(n)}
    keys = {n: v for n, v in keys.items() if not n.startswith("MLFLOW_")}
    for name in keys:
        del os.environ[name]
    load = functools.partial(load_model, str(model.folder), suppress_warnings=True)
    try:
        model.loaded, model.keys_at_load = model.with_keys(load)
        os.environ.update(keys)
        model.watch.phase = "when it predicts"
    except Exception as error:
        if model.watch.files or model.watch.refused:
            raise Skip("it fails at what the next checks name") from None
        yield one_line(error)


def example_is_answered(model: LoadedModel) -> Iterator[str]:
    model.skip_unless_passed("has-example")
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


def params_arrive(model: LoadedModel) -> Iterator[str]:
    model.skip_unless_passed("example-is-answered")
    schema = model.meta.get_params_schema()
    params = NotedParams({p.name: p.default for p in schema.params} if schema else {})
    example = model.meta.load_input_example(str(model.folder))
    with suppress(Exception):  # a model that takes none
        model.pyfunc._model_impl.predict(example, params=params)
    for name in sorted(params.read - params.keys()):
        yield f"predict reads {name!r}, the signature lacks it"


class NotedParams(dict[str, Any]):
    """Params that note which are read."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.read: set[str] = set()

    def __bool__(self) -> bool:
        return True

    def __contains__(self, name: Any) -> bool:
        self.read.add(name)
        return super().__contains__(name)

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.add(name)
        return super().get(name, default)


def answers_repeat(model: LoadedModel) -> Iterator[str]:
    again = model.ask(model.body).answer
    if not is_same(again, model.first):
        yield f"the same request twice: {short(model.first)}, then {short(again)}"


def answers_json(model: LoadedModel) -> Iterator[str]:
    model.skip_unless_passed("example-is-answered")
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


def reads_the_values(model: LoadedModel) -> Iterator[str]:
    if not isinstance(model.first, list) or len(model.first) != len(model.rows[0]):
        return
    others = [vary(row) for row in model.rows]
    if others == model.rows:
        raise Skip("its example has no numbers and no texts")
    replies = [model.ask_rows(rows) for rows in (model.rows * 2, others)]
    if all(is_same(reply.answer, model.first) for reply in replies):
        asked = [short([*row.values()]) for row in (model.rows[0], others[0])]
        yield f"answers {short(model.first)} for {' and for '.join(asked)}"


def names_its_columns(model: LoadedModel) -> Iterator[str]:
    outputs = model.meta.signature and model.meta.signature.outputs
    if model.task or not outputs or not outputs.has_input_names():
        raise Skip("the signature names no columns of the answer")
    row = model.first[0] if isinstance(model.first, list) else model.first
    names = {*row} if isinstance(row, dict) else set()
    if not {*outputs.required_input_names()} <= names <= {*outputs.input_names()}:
        columns = ", ".join(outputs.input_names())
        yield f"answers {short(row)}; the signature has {columns}"


def rows_apart(model: LoadedModel) -> Iterator[str]:
    rows, answers = map(list, zip(*model.batch, strict=True))
    for row, among in model.batch[:8]:
        alone = model.ask_rows([row]).answer
        if not is_same(alone, [among]):
            yield f"{short(row)} alone: {short(alone)}, among others: {short(among)}"
    others = {"in reverse": (rows[::-1], answers[::-1])}
    others["twice"] = (rows * 2, answers * 2)
    for how, (asked, expected) in others.items():
        seen = model.ask_rows(asked).answer
        if not is_same(seen, expected):
            yield f"{short(answers)}, and {short(seen)} with the rows {how}"
    for name in rows[0]:
        for value in (None, "no such value"):
            gap = model.ask_cell(name, value)
            if gap.status == 200 and len(gap.answer) != len(model.rows):
                yield f"{in_column(value, name)}: {len(gap.answer)} answers"


def ask_anew(model: LoadedModel, body: dict[str, Any]) -> Any:
    """Return the answer to a request, in a conversation of its own if it has one."""
    context = body.get("context") or {}
    if "conversation_id" not in context:
        return model.ask(body).answer
    new_id = uuid.uuid4().hex
    body = body | {"context": context | {"conversation_id": new_id}}
    # The answer may hand the id back.
    return json.loads(json.dumps(model.ask(body).answer).replace(new_id, "new"))


def belongs_to_another(answer: Any, alone: Any, expected: list[Any]) -> bool:
    """Say whether an answer is not its own request's, or is that of another one.

    A busy service rounds otherwise: embeddings differ in the third digit.
    """
    if is_same(answer, alone):
        return False
    return not is_same(answer, alone, 0.01) or any(is_same(answer, e) for e in expected)


def threads_apart(model: LoadedModel) -> Iterator[str]:
    model.skip_unless_passed("answers-repeat")
    bodies = [model.body]
    with suppress(Skip):
        bodies = [model.with_rows([row]) for row, _ in model.batch[:8]]
    expected: list[Any] = []
    start = time.monotonic()
    for body in bodies:
        if time.monotonic() - start < 2:  # threads take eight times as long, or more
            expected.append(ask_anew(model, body))
    bodies = bodies[: len(expected)]
    times = 8 * min(3, int(1 + 1 / (time.monotonic() - start + 0.01)))
    sys.setswitchinterval(1e-5)  # threads meet more often
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(functools.partial(ask_anew, model), bodies * times))
    sys.setswitchinterval(0.005)
    wrong = []
    for answer, alone in zip(answers, expected * times, strict=True):
        # MLflow's autologging loses its session now and then, whatever the model.
        lost = "autologging_utils" in str(answer)
        if not lost and belongs_to_another(answer, alone, expected):
            wrong.append(answer)
    if wrong:
        yield f"{len(wrong)} of {len(answers)} answers in 8 threads: {short(wrong[0])}"


def numbers_are_numbers(model: LoadedModel) -> Iterator[str]:
    for name, value in model.numbers:
        for sent, number in ((True, 1), (str(value), value)):
            reply = model.ask_cell(name, sent)
            taken = model.ask_cell(name, number)
            if reply.status == 200 and is_same(reply.answer, taken.answer):
                yield f"{in_column(sent, name)} is taken for {number}"


def bad_values_are_refused_well(model: LoadedModel) -> Iterator[str]:
    times = 200 if model.seconds < 0.05 else 1
    for name, value_of_example in model.cells:
        bad: list[Any] = ["no such value", None]
        if isinstance(value_of_example, str):
            bad.append(7)
        for value in bad:
            for fault in model.ask_cell(name, value, times).bad_refusal():
                yield f"{in_column(value, name)} {fault}"


def columns_are_checked(model: LoadedModel) -> Iterator[str]:
    model.skip_unless_passed("has-signature")
    model.skip_unless_passed("answers-repeat")
    names = [name for name in model.rows[0] if isinstance(name, str)]
    if not names:
        raise Skip("its rows have no columns")
    for name in names:
        rows = [{n: row[n] for n in row if n != name} for row in model.rows]
        for fault in model.ask_rows(rows).bad_refusal():
            yield f"a request without column {name!r} {fault}"


def stream_says_the_same(model: LoadedModel) -> Iterator[str]:
    if "responses" not in model.task:
        raise Skip("it is no ResponsesAgent")
    answered = text_of(model.first["output"])
    try:
        events = list(model.pyfunc.predict_stream(model.body))
    except NotImplementedError:
        raise Skip("it has no predict_stream") from None
    except Exception as error:
        if "does not support predict_stream" in str(error):  # streamable = False
            raise Skip("it doesn't stream") from None
        yield f"predict_stream fails: {one_line(error)}"
        return
    kinds = [event["type"].removeprefix("response.") for event in events]
    done = [event["item"] for event in events if event["type"].endswith("item.done")]
    if not done:
        yield f"no response.output_item.done in the stream: {short(kinds)}"
    if "completed" in kinds[:-1]:
        yield "response.completed is not the last event"
    if kinds[-1].endswith("text.delta"):
        yield "a delta comes after the end of its message"
    deltas = [e["delta"] for e in events if e["type"].endswith("text.delta")]
    streamed = "".join(deltas) or text_of(done)
    if streamed != text_of(done):
        yield f"deltas {streamed!r:.80}, items {text_of(done)!r:.80}"
    if answered and "answers-repeat" in model.passed and streamed != answered:
        yield f"streams {streamed!r:.80}, answers {answered!r:.80}"


def text_of(items: list[dict[str, Any]]) -> str:
    """Return the text of a response's items."""
    parts = [part for item in items for part in item.get("content") or []]
    return "".join(part.get("text", "") for part in parts)


def failure_is_told(model: LoadedModel) -> Iterator[str]:
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


def model_folder(model: str) -> Path:
    """Return a model's folder; CheckError if it isn't there or can't be checked."""
    import mlflow

    folder, store = model, mlflow.get_tracking_uri()
    if not Path(model).exists():
        if ":/" not in model:
            raise CheckError("no such folder, and no URI of a model")
        file = Path(store.removeprefix("sqlite:///"))
        if store.startswith("sqlite:///") and not file.is_file():
            raise CheckError(f"no store at {file}: set MLFLOW_TRACKING_URI")
        try:
            folder = mlflow.artifacts.download_artifacts(model)
        except mlflow.MlflowException as error:
            raise CheckError(one_line(error)) from error
    if not (Path(folder) / "MLmodel").is_file():
        raise CheckError("no MLmodel in it: not a logged model")
    flavors = mlflow.models.Model.load(folder).flavors
    pyfunc = flavors.get("python_function", {})
    if not {"model_code_path", "python_model"} & pyfunc.keys():
        raise CheckError(f"not from code, but of flavor {', '.join(flavors)}")
    os.environ["MLFLOW_TRACKING_URI"] = store  # from any folder
    return Path(folder).resolve()


def forget_connections() -> None:
    """Close MLflow's connections: the model would use them, and Watcher see no host."""
    from mlflow.utils.request_utils import _cached_get_request_session

    _cached_get_request_session.cache_clear()


def run_params(name: str, run_id: str | None) -> dict[str, str]:
    """Return the params of the run that logged the model; none for a mere folder."""
    import mlflow

    if not run_id or ":/" not in name:
        return {}
    return dict(mlflow.MlflowClient().get_run(run_id).data.params)


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
    sys.path = [path for path in sys.path if path.startswith(INSTALLED)]
    for module in [*sys.modules]:  # the model may have a package of that name
        if module.split(".")[0] == __package__:
            del sys.modules[module]
    try:
        model = LoadedModel(name, call)
    except Exception as error:
        pipe.send(str(error) if isinstance(error, CheckError) else one_line(error))
        os._exit(0)
    pipe.send(None)
    os.chdir(place)
    for check in checks:
        try:
            function = check.replace("-", "_")
            run = getattr(files, function, None) or globals()[function]
            finding = next(run(model), "")
            outcome = ("found" if finding else "ok", finding)
        except Skip as reason:
            outcome = ("skipped", str(reason))
        except Exception as error:
            outcome = ("failed", one_line(error))
        if outcome[0] == "ok":
            model.passed.add(check)
        pipe.send(outcome)
    os._exit(0)
