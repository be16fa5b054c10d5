"""Measure one model as code and as a pickled object: build/object-or-code.md.

python -m docs.object_or_code
"""

import difflib
import pickletools
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from shared.recipes import ROOT, find

import cloudpickle
import mlflow

from benchmarks.report import markdown
from recipes.circle_area import model_code
from recipes.circle_area.driver import SIGNATURE

CIRCLE = find("circle_area")
FIRST = """import json, sys, mlflow
body = json.load(open(sys.argv[2]))["dataframe_split"]
import pandas
mlflow.pyfunc.load_model(sys.argv[1]).predict(pandas.DataFrame(**body))"""


def save(model: object, folder: Path) -> float:
    """Store the model; return the CPU seconds that it took."""
    start = time.process_time()
    mlflow.pyfunc.save_model(
        folder,
        python_model=model,
        signature=SIGNATURE,
        pip_requirements=str(CIRCLE.path / "requirements.txt"),
    )
    return time.process_time() - start


def first_answer(folder: Path) -> float:
    """Return the CPU seconds of a process that loads the model and answers once."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [
        sys.executable,
        "-I",
        "-c",
        FIRST,
        str(folder),
        str(CIRCLE.path / "request.json"),
    ]
    subprocess.run(words, cwd="/", check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def changed(folder: Path) -> str:
    """Return the model file with one constant changed."""
    text = (folder / "model_code.py").read_text(encoding="utf-8")
    assert (new := text.replace("return np.pi", "return 3.14")) != text
    return new


def main() -> None:
    cloudpickle.register_pickle_by_value(
        model_code
    )  # else the pickle holds no more than its name
    with tempfile.TemporaryDirectory() as name:
        code, pickled = Path(name) / "code", Path(name) / "object"
        source = CIRCLE.path / "model_code.py"
        save(source, Path(name) / "first")  # what the first call in a process imports
        seconds = save(source, code), save(model_code.CircleArea(), pickled)
        files = code / "model_code.py", pickled / "python_model.pkl"
        text = source.read_text(encoding="utf-8")
        both = text.splitlines(), changed(code).splitlines()
        lines = [*difflib.unified_diff(*both, n=0, lineterm="")][3:]
        diff = " ".join(f"`{line}`" for line in lines)
        operations = [op.name for op, _, _ in pickletools.genops(files[1].read_bytes())]
        calls = sum(
            op in ("REDUCE", "BUILD", "NEWOBJ", "STACK_GLOBAL") for op in operations
        )
        size = [f"{file.name}, {file.stat().st_size:,} bytes" for file in files]
        first = [f"{first_answer(folder):.1f} s" for folder in (code, pickled)]
        rows = [
            ("what is stored", f"text: {size[0]}", f"bytecode: {size[1]}"),
            ("to store it, CPU", *(f"{s:.2f} s" for s in seconds)),
            ("from a new process to a first answer, CPU", *first),
            (
                "what a diff shows when a constant changes",
                diff,
                "`Binary files differ`",
            ),
            (
                "what runs when it is loaded",
                f"the file, all {text.count(chr(10))} lines of it, as you can read it",
                f"{len(operations)} pickle operations, {calls} of which look up or "
                "call something",
            ),
            (
                "whom you must trust",
                "who can write to the store",
                "who can write to the store",
            ),
        ]
    names = ("", "from code", "as an object")
    table = markdown([dict(zip(names, row, strict=True)) for row in rows])
    (ROOT / "build" / "object-or-code.md").write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
