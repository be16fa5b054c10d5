"""Read the entries of Python's standard library: from its reference, and docstrings.

The reference is Python's documentation as HTML: `apt-get install python3.11-doc`. It
says more than the docstrings, which serve for what it has no section on (list.append,
hashlib.sha256).
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
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from sources import Entry

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
REFERENCE = Path(f"/usr/share/doc/python{VERSION}/html/library")
ADDRESS = f"https://docs.python.org/{VERSION}/library"
KINDS = ["function", "class", "method", "classmethod", "staticmethod", "attribute"]
# Modules that nobody looks for here: internal, of one system only, or deprecated.
LEFT_OUT = """
__phello__ aifc antigravity asynchat asyncore audioop bdb cgi cgitb chunk crypt curses
distutils encodings ensurepip genericpath idlelib imghdr imp lib2to3 mailcap msilib nis
nntplib nt ntpath ossaudiodev pdb pipes posixpath pydoc_data smtpd sndhdr spwd sunau
telnetlib test tests this tkinter turtle turtledemo uu winreg xdrlib
"""
# Paragraphs that don't tell what a function does.
ASIDE = re.compile(r"(Changed|New|Deprecated) (in|since) |Availability|Raises an audit")
# How a docstring may open: "pow(x, y) -> number".
SIGNATURE = re.compile(
    r"[\w.]+\([^\n]*?\)(?=\s|$)(?: *-+> *(?:\([^)]*\)|[^\n,.:]*))?[\s,.:-]*"
)
SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+(?=[A-Z\"'`(])")
PARAGRAPH_END = re.compile(r"\n\s*\n")


class Section(NamedTuple):
    """What the reference, or a docstring, says of a function, class or method."""

    text: str  # its first paragraph
    link: str
    topic: str  # the headings above it
    is_part: bool  # of a class


def standard_library() -> Iterator[Entry]:
    """Yield this Python's functions, classes and methods."""
    uses = names_in_the_source()
    described = reference()
    for name, section in (described | docstrings(described)).items():
        prior = 0.015 * math.log1p(min(uses[name], 20)) - 0.06 * section.is_part
        yield Entry(
            name,
            text=SENTENCE_END.split(section.text)[0],
            link=section.link,
            compared=f"{in_words(name)}: {section.text[:300]}",
            topic=section.topic[:300],
            prior=round(prior, 3),
        )


def reference() -> dict[str, Section]:
    """Return what the reference describes."""
    if not REFERENCE.is_dir():
        sys.exit(f"{REFERENCE} is missing: apt-get install python{VERSION}-doc")
    sections: dict[str, Section] = {}
    for file in sorted(REFERENCE.glob("*.html")):
        page = Page(f"{ADDRESS}/{file.name}")
        page.feed(file.read_text("utf-8"))
        sections = page.sections | sections
    return {name: section for name, section in sections.items() if is_public(name)}


class Page(HTMLParser):
    """Collect the sections of a page.

    <dl class="py function"><dt id="len">its signature</dt><dd><p>Its text...
    """

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address
        self.sections: dict[str, Section] = {}
        self.headings: dict[str, str] = {}  # h1, and the h2 and h3 that stand now
        self.kind = ""  # of the names
        self.names: list[str] = []  # that the next paragraph describes
        self.described = False  # whether the names are complete
        self.words: list[str] | None = None  # of the open heading or paragraph

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        values = dict(attrs)
        if tag == "dl":
            self.kind = (values.get("class") or "").removeprefix("py ")
        elif tag == "dt" and "id" in values and self.kind in KINDS:
            if self.described:  # what came before has no paragraph
                self.names = []
                self.described = False
            self.names.append(values["id"])
        elif tag == "dd":
            self.described = True
        elif tag in ("h1", "h2", "h3", "p"):
            self.words = []

    def handle_data(self, data: str) -> None:
        if self.words is not None:
            self.words.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("h1", "h2", "h3", "p") or self.words is None:
            return
        text = " ".join("".join(self.words).replace("\N{PILCROW SIGN}", "").split())
        self.words = None
        if tag == "p":
            self.describe(text)
        else:
            above = {level: h for level, h in self.headings.items() if level < tag}
            self.headings = above | {tag: text}

    def describe(self, text: str) -> None:
        """Take the paragraph as the text of the names that wait for one."""
        if not self.described or ASIDE.match(text):
            return
        for name in self.names:
            self.sections[name] = Section(
                text,
                link=f"{self.address}#{name}",
                topic=": ".join(self.headings.values()),
                is_part=self.kind not in ("function", "class"),
            )
        self.names = []


def docstrings(described: dict[str, Section]) -> dict[str, Section]:
    """Return the docstrings of what the reference doesn't describe."""
    sections = {}
    texts = set()
    for module in modules():
        topic = f"{in_words(module.__name__)}: {first_paragraph(module)}"
        page = f"{module.__name__.lower()}.html"
        if not (REFERENCE / page).is_file():
            page = "index.html"
        for name, thing, is_method in members(module):
            text = first_paragraph(thing)
            if len(text) < 16 or text in texts:  # a method may repeat another's
                continue
            texts.add(text)
            if name in described:
                continue
            whole = described.get(name.rpartition(".")[0])
            link = whole.link if whole else f"{ADDRESS}/{page}"
            sections[name] = Section(text, link, topic, is_method)
    return sections


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


def is_public(name: str) -> bool:
    """Return whether the name, or the module it is in, is one that people look for."""
    private = re.search(r"(^|\.)_", name)
    return not private and not set(name.split(".")) & set(LEFT_OUT.split())


def public_module(name: str) -> ModuleType | None:
    """Return the module, or None if it isn't public or this system doesn't have it."""
    if not is_public(name):
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
    classes.sort(key=lambda named: len(named[0]))  # set before frozenset
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
