"""Many clients, stuck clients, many requests; several models in one process."""

import base64
import contextlib
import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from shared.known_answer import differences, find_faults
from shared.local_llm import local_llm
from shared.processes import free_port, running_server
from shared.recipes import discover, find

import mlflow
import numpy as np
import pandas as pd
import pytest

from benchmarks.fake_service import vector
from benchmarks.report import marked_processes
from tests.torture.hostile import asks_a_table, first_frame
from tests.torture.oracles import ORACLES, by_row, edges, feedback
from tests.torture.services import service

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(
        not Path("/proc/self/environ").exists(), reason="looks into /proc"
    ),
]
JSON = {"Content-Type": "application/json"}


def listening(ids: list[int]) -> set[str]:
    """Return the addresses that these processes listen on, from the kernel's tables."""
    open_files = set()
    for pid in ids:
        for file in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                open_files.add(os.readlink(file))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in open_files:
                found.add(address(local.split(":")[0]))
    return found


def address(kernel: str) -> str:
    data = b"".join(
        bytes.fromhex(kernel[i : i + 8])[::-1] for i in range(0, len(kernel), 8)
    )
    return socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data)


def ask(
    port: int, body: bytes | None = None, server: HTTPConnection | None = None
) -> Any:
    server = server or HTTPConnection("127.0.0.1", port, timeout=120)
    method, path = ("POST", "/invocations") if body else ("GET", "/ping")
    server.request(method, path, body, JSON)
    response = server.getresponse()
    text = response.read()
    assert response.status == 200, text[:500]
    if not body:
        return None
    answer = json.loads(text)
    return answer.get("predictions", answer)  # an agent's stands alone


@contextmanager
def running(
    target: str, checkout: Path, **variables: str
) -> Iterator[tuple[int, list[int]]]:
    """Run serve or ui as make does: (its port, the ids of its processes)."""
    port = free_port()
    words = [sys.executable, "-m", "shared.cli", target]
    health = f"http://127.0.0.1:{port}/health"
    more = {"PORT": str(port), "COOKBOOK_MARK": f"torture {target} {port}", **variables}
    with running_server(words, checkout, health, Path(os.devnull), **more):
        yield port, list(marked_processes(more["COOKBOOK_MARK"]))
    assert marked_processes(more["COOKBOOK_MARK"]) == {}, "left behind"


def requests(recipe, number: int) -> Iterator[dict[str, Any]]:
    """Yield so many requests whose answers differ."""
    asked = recipe.json("request.json")
    if not asks_a_table(asked):
        for at in range(number):
            yield {"input": [{"role": "user", "content": f"How do I sort {at} names?"}]}
        return
    frame, kind = first_frame(asked), ORACLES.get(recipe.name)
    for at in range(number):
        if kind is feedback:
            rows = pd.DataFrame({"text": [f"The lamp for ${at + 1} is fine."]})
        elif kind is edges:  # its columns are named in the answer
            rows = frame.iloc[:, :3].add_suffix(f" {at}")
        elif "image" in frame:
            rows = pd.DataFrame({"image": [cropped(frame["image"].iloc[1], at)]})
        else:
            column = {"circle_area": "diameter", "clv_composite": "first_order_value"}
            rows = frame.tail(1).copy().astype(object)
            rows[column[recipe.name]] = rows[column[recipe.name]].astype(float) + at / 7
        cells = rows.astype(object).where(rows.notna(), None)
        body = {"dataframe_split": cells.to_dict("split", index=False)}
        if "params" in asked and kind is not edges:
            body["params"] = asked["params"]
        yield body


def cropped(image: bytes, at: int) -> str:
    import cv2

    grey: Any = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_GRAYSCALE)
    x, y = at % 80, at // 80
    cut = grey[y : y + grey.shape[0] - 80, x : x + grey.shape[1] - 80]
    return base64.b64encode(cv2.imencode(".png", cut)[1].tobytes()).decode()


def memory(ids: list[int]) -> int:
    """Return the kB of the largest of the processes: the one that answers."""
    sizes = [Path(f"/proc/{pid}/status").read_text() for pid in ids]
    found = [re.search(r"VmRSS:\s+(\d+)", text) for text in sizes]
    return max(int(size[1]) for size in found if size)


def expected(recipe, place: Path, asked: list[dict[str, Any]]) -> list[Any]:
    """Return what the model in that folder must answer to each of these."""
    if not asks_a_table(asked[0]):
        return nearest(place, [body["input"][0]["content"] for body in asked])
    model = mlflow.pyfunc.load_model(str(place))
    tables = [pd.DataFrame(**body["dataframe_split"]) for body in asked]
    params = asked[0].get("params")
    if by_row(recipe):
        answer = model.predict(pd.concat(tables, ignore_index=True), params=params)
        return [[row] for row in plain(answer)]
    return [plain(model.predict(table, params=params)) for table in tables]


def nearest(place: Path, questions: list[str]) -> list[list[dict[str, Any]]]:
    """Return the five entries nearest to each question, by the stand-in.

    For all at once, in another way than the model's, which would take minutes for
    thousands.
    """
    rows = pd.read_parquet(place / "artifacts/entries.parquet")
    kept = np.frombuffer(b"".join(rows["vector"]), np.int8).reshape(len(rows), -1)
    asked = np.array([vector(text) for text in questions]).T
    near = kept / rows.attrs["scale"] @ (asked / np.linalg.norm(asked, axis=0))
    total = pd.DataFrame(near, index=rows["name"]).add(rows["prior"].to_numpy(), axis=0)
    best = [column.nlargest(5).items() for _, column in total.items()]
    return [[{"entry": name, "score": score} for name, score in five] for five in best]


def told(answer: Any) -> list[dict[str, Any]]:
    """Return the rows of an answer: an agent's are its entries."""
    if isinstance(answer, list):
        return answer
    found = answer["custom_outputs"]["entries"]
    return [{"entry": row["id"], "score": row["metadata"]["score"]} for row in found]


def plain(answer: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(answer.to_json(orient="records", double_precision=15))


def flood(port: int, bodies: list[bytes], clients: int) -> list[Any]:
    """Return the answers to the bodies, asked by so many clients at once."""

    def client(part: list[bytes]) -> list[Any]:
        server = HTTPConnection("127.0.0.1", port, timeout=120)
        with contextlib.closing(server):
            return [ask(port, body, server) for body in part]

    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(client, [bodies[at::clients] for at in range(clients)]))
    return [found[at % clients][at // clients] for at in range(len(bodies))]


def hang(port: int, stack: ExitStack, number: int) -> None:
    """Leave connections open, half without the end of their headers."""
    for at in range(number):
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        head = b"POST /invocations HTTP/1.1\r\nHost: a\r\n"
        client.send(head if at % 2 else head + b"Content-Length: 9\r\n\r\n{")


@pytest.mark.parametrize(
    "recipe",
    # graph_agent answers by conversation: its own tests have several workers.
    [recipe for recipe in discover() if recipe.name != "graph_agent"],
    ids=lambda recipe: recipe.name,
)
def test_many_clients(recipe, logged, folder, cases, counts):
    """No answer is swapped, none waits for a stuck client, loopback only."""
    clients, stuck, each = 32, 40, cases(4, 200)
    asked = list(requests(recipe, clients * each))
    with service(recipe) as settings, ExitStack() as stack:
        port, ids = stack.enter_context(
            running("serve", logged, RECIPE=recipe.name, **settings)
        )
        assert listening(ids) == {"127.0.0.1"}
        hang(port, stack, stuck)
        answers = flood(port, [json.dumps(body).encode() for body in asked], clients)
        stack.close()
        wanted = expected(recipe, folder(recipe), asked)
    names = ["area", "clv", "expected_purchases", "aov", "p_return", "defect_score"]
    near = dict.fromkeys(names, 1e-9) | {"score": 1e-3}  # which is rounded
    pairs = zip(map(told, answers), wanted, strict=True)
    swapped = [found for got, want in pairs if (found := differences(got, want, near))]
    assert not swapped, swapped[0]
    different = len({json.dumps(answer) for answer in answers})
    assert different > 0.95 * len(answers), "or a swapped answer would not be seen"
    counts["clients"], counts["stuck clients beside them"] = clients, stuck
    counts["requests"], counts["different answers"] = len(answers), different
    counts["swapped"] = len(swapped)


def test_memory_of_a_server(logged, cases, counts):
    """20,000 requests leave no more behind than 1,000."""
    recipe, total, warm = find("circle_area"), cases(400, 20_000), cases(200, 1_000)
    with running("serve", logged, RECIPE=recipe.name) as (port, ids):
        body = json.dumps(recipe.json("request.json")).encode()
        assert find_faults(recipe.path, {"predictions": ask(port, body)}) == []
        flood(port, [body] * warm, 4)
        before = memory(ids)
        flood(port, [body] * (total - warm), 4)
        after = memory(ids)
    counts["requests to circle_area"] = total
    counts["MB after the first 5 %"] = before // 1000
    counts["MB at the end"] = after // 1000
    assert after < 1.05 * before, f"{before} kB, {after} kB"


def test_what_else_listens_is_on_loopback(logged, counts):
    with running("ui", logged) as (_, ids):
        assert listening(ids) == {"127.0.0.1"}
    before = listening([os.getpid()])
    with local_llm():
        found = listening([os.getpid()])
        assert found and found - before <= {"127.0.0.1"}
    with socket.create_server(("0.0.0.0", 0)):
        assert "0.0.0.0" in listening([os.getpid()]), "it would be seen"
    counts["servers"] += 2


def test_models_in_one_process_answer_as_themselves(folder, tmp_path, cases, counts):
    """All recipes and two versions of one, side by side and from threads."""
    circle = find("circle_area")
    shutil.copytree(folder(circle), tmp_path / "v2")
    code = tmp_path / "v2/model_code.py"
    text = code.read_text()
    code.write_text(text.replace("np.pi * diameter**2", "2 * np.pi * diameter**2"))
    with ExitStack() as stack:
        models = []
        for recipe in discover():
            if not asks_a_table(recipe.json("request.json")):
                continue
            stack.enter_context(service(recipe))
            models.append((recipe, mlflow.pyfunc.load_model(str(folder(recipe)))))
        double = mlflow.pyfunc.load_model(str(tmp_path / "v2"))

        def once(at: int) -> None:
            recipe, model = models[at % len(models)]
            asked = recipe.json("request.json")
            answer = model.predict(first_frame(asked), params=asked.get("params"))
            if ORACLES.get(recipe.name) is not feedback:
                said = json.loads(answer.to_json(orient="records", double_precision=15))
                assert find_faults(recipe.path, {"predictions": said}) == []
            circle = pd.DataFrame({"diameter": [float(at)]}, dtype=object)
            rivals = (models[0][1], double)
            one, two = (model.predict(circle)["area"].item() for model in rivals)
            assert two == 2 * one == pytest.approx(np.pi * at**2 / 2)

        calls = cases(60, 2_000)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(once, range(calls)))
    counts["models"], counts["calls in 16 threads"] = len(models) + 1, calls
