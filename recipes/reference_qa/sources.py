"""Read the entries that the model answers from.

`standard_library()` reads Python's own docstrings. For your own texts there are
`markdown(folder)`, and `table(file)` for a CSV file with the columns name and text.
"""

import importlib
import inspect
import math
import os.path
import pkgutil
import re
import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pandas as pd

# Modules that nobody looks for here: internal, of one system only, or deprecated.
LEFT_OUT = """
__phello__ aifc antigravity asynchat asyncore audioop bdb cgi cgitb chunk crypt curses
distutils encodings ensurepip genericpath idlelib imghdr imp lib2to3 mailcap msilib nis
nntplib nt ntpath ossaudiodev pdb pipes posixpath pydoc_data smtpd sndhdr spwd sunau
telnetlib test tests this tkinter turtle turtledemo uu winreg xdrlib
"""
# Packages whose modules are documented on the package's page.
ONE_PAGE = ["asyncio", "importlib", "multiprocessing", "wsgiref"]
# What is documented on the page "Built-in Types".
TYPES = "bytearray bytes dict float frozenset int list memoryview set str tuple"
# How a docstring may open: "pow(x, y) -> number".
SIGNATURE = re.compile(
    r"[\w.]+\([^\n]*?\)(?=\s|$)(?: *-+> *(?:\([^)]*\)|[^\n,.:]*))?[\s,.:-]*"
)
SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+(?=[A-Z\"'`(])")
PARAGRAPH_END = re.compile(r"\n\s*\n")
# A blank line, unless a list goes on below it or the text there is indented.
PASSAGE_END = re.compile(r"\n\s*\n(?=\S)(?![-*+] |\d+[.)] )")
MAX_PASSAGE = 700  # characters, unless one list or code block is longer


class Entry(NamedTuple):
    name: str  # what an answer cites
    text: str  # what an answer says
    link: str = ""  # where to read on
    compared: str = ""  # what is compared with a question, if not name and text
    topic: str = ""  # what the entry is a part of; compared too, and counts less
    prior: float = 0.0  # added to the entry's score, whatever the question
    in_scope: bool = True  # if it isn't, a question that it fits best is refused


def neighbours(file: Path) -> Iterator[Entry]:
    """Yield what people may ask about instead: if one fits best, the model refuses."""
    for row in pd.read_csv(file, keep_default_na=False).to_dict("records"):
        yield Entry(row["name"], row["text"], prior=0.1, in_scope=False)


def table(file: Path) -> Iterator[Entry]:
    """Yield the rows of a CSV file with the columns name, text and, if any, link."""
    for row in pd.read_csv(file, keep_default_na=False).to_dict("records"):
        yield Entry(row["name"], row["text"], row.get("link", ""))


def markdown(folder: Path) -> Iterator[Entry]:
    """Yield the sections of the Markdown files below a folder, under their headings."""
    for file in sorted(folder.rglob("*.md")):
        place = file.relative_to(folder).as_posix()
        text = re.sub(r"\A---\n.*?\n---\n", "", file.read_text("utf-8"), flags=re.S)
        names = Counter[str]()
        for heading, section in sections(text):
            for passage in passages(section):
                name = f"{place}: {heading}" if heading else place
                names[name] += 1
                if names[name] > 1:
                    name = f"{name} ({names[name]})"
                yield Entry(name, passage, link=place)


def sections(text: str) -> Iterator[tuple[str, str]]:
    """Yield the heading and the text of each section; a # in code is no heading."""
    heading = ""
    lines: list[str] = []
    in_code = False
    for line in text.splitlines():
        if line.startswith("```"):
            in_code = not in_code
        if line.startswith("#") and not in_code:
            yield heading, "\n".join(lines)
            heading = line.strip("# ")
            lines = []
        else:
            lines.append(line)
    yield heading, "\n".join(lines)


def passages(section: str) -> list[str]:
    """Cut a long section between paragraphs, never within a list or a code block."""
    found: list[str] = []
    for part in PASSAGE_END.split(section.strip()):
        in_code = bool(found) and found[-1].count("```") % 2 == 1
        fits = bool(found) and len(found[-1]) + len(part) <= MAX_PASSAGE
        if in_code or fits:
            found[-1] = f"{found[-1]}\n\n{part}"
        elif part:
            found.append(part)
    return found


def standard_library() -> Iterator[Entry]:
    """Yield this Python's functions, classes and methods with their docstrings."""
    uses = names_in_the_source()
    texts = set()
    for module in modules():
        topic = f"{in_words(module.__name__)}: {first_paragraph(module)}"
        for name, thing, is_method in members(module):
            text = first_paragraph(thing)
            if len(text) < 16 or text in texts:  # a method may repeat another's
                continue
            texts.add(text)
            prior = 0.015 * math.log1p(min(uses[name], 20)) - 0.06 * is_method
            yield Entry(
                name,
                text=SENTENCE_END.split(text)[0],
                link=documentation(module.__name__, name),
                compared=f"{in_words(name)}: {text[:400]}",
                topic=topic[:300],
                prior=round(prior, 3),
            )


def modules() -> Iterator[ModuleType]:
    """Yield the public modules, those on top before the parts of packages."""
    parts: list[str] = []
    for name in ["builtins", "os.path", *sorted(sys.stdlib_module_names)]:
        module = public_module(name)
        if module:
            yield module
            inside = getattr(module, "__path__", [])
            parts += [p.name for p in pkgutil.walk_packages(inside, f"{name}.")]
    for name in parts:
        module = public_module(name)
        if module:
            yield module


def public_module(name: str) -> ModuleType | None:
    """Return the module, or None if it isn't public or this system doesn't have it."""
    if re.search(r"(^|\.)_", name) or set(name.split(".")) & set(LEFT_OUT.split()):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some are deprecated
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


def members(module: ModuleType) -> Iterator[tuple[str, Any, bool]]:
    """Yield functions and classes with their full names, then the classes' methods."""
    prefix = f"{module.__name__}."
    if module.__name__ == "builtins":
        prefix = ""
    elif module is os.path:  # it is called posixpath or ntpath
        prefix = "os.path."
    classes = []
    for name in getattr(module, "__all__", list(vars(module))):
        thing = getattr(module, name, None)
        if is_entry(module, name, thing):
            yield prefix + name, thing, False
            if inspect.isclass(thing):
                classes.append((prefix + name, thing))
    for name, thing in classes:
        for part, method in methods(thing):
            yield f"{name}.{part}", method, True


def methods(thing: type) -> Iterator[tuple[str, Any]]:
    """Yield a class's own public methods and properties."""
    for name, method in vars(thing).items():
        if name.startswith("_"):
            continue
        is_method = inspect.isroutine(method) or inspect.isdatadescriptor(method)
        if is_method or isinstance(method, (classmethod, staticmethod)):
            yield name, method


def is_entry(module: ModuleType, name: str, thing: Any) -> bool:
    """Return whether it is a function or class that belongs to the module."""
    if name.startswith("_") or not (inspect.isroutine(thing) or inspect.isclass(thing)):
        return False
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        return False
    home = getattr(thing, "__module__", None) or "builtins"
    own = ["builtins", module.__name__, f"_{module.__name__}"]
    return home in own or hasattr(module, "__all__")


def first_paragraph(thing: Any) -> str:
    """Return the first paragraph of a docstring on one line, without the signature."""
    doc = inspect.getdoc(thing) or ""
    while SIGNATURE.match(doc):
        doc = SIGNATURE.sub("", doc, count=1).strip()
    return " ".join(PARAGRAPH_END.split(doc)[0].split())


def in_words(name: str) -> str:
    """Return csv.DictReader as "csv Dict Reader"."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return " ".join(re.split(r"[._ ]+", spaced))


def names_in_the_source() -> Counter[str]:
    """Count how often the library's own source names each thing: how common it is."""
    found = Counter[str]()
    library = Path(sysconfig.get_path("stdlib"))
    for file in library.rglob("*.py"):
        folders = file.relative_to(library).parts
        if not {"site-packages", *LEFT_OUT.split()} & set(folders):
            found.update(
                re.findall(r"[A-Za-z][\w.]*\w", file.read_text("utf-8", "replace"))
            )
    return found


def documentation(module: str, name: str) -> str:
    """Return the address of an entry in Python's documentation."""
    page = module.lower()
    package = module.split(".")[0]
    if package in ONE_PAGE:
        page = package
    if module == "builtins":
        page = "stdtypes" if name.split(".")[0] in TYPES.split() else "functions"
    if module in ("posixpath", "ntpath"):
        page = "os.path"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return f"https://docs.python.org/{version}/library/{page}.html#{name}"
