"""Read the entries that the model answers from, and what is compared with a question.

`markdown(folder)` reads your own texts, and `table(file)` a CSV file with the columns
name and text. Python's standard library is read in library.py.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

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


def with_phrases(entries: Iterable[Entry], file: Path) -> Iterator[Entry]:
    """Yield each entry, and again with each phrase of a CSV file to be compared.

    The columns are name and phrase: an entry, and how a user may ask for it.
    """
    table = pd.read_csv(file, keep_default_na=False)
    phrases = table.groupby("name")["phrase"].apply(list).to_dict()
    for entry in entries:
        yield entry
        for phrase in phrases.pop(entry.name, []):
            yield entry._replace(compared=phrase)
    for name in phrases:
        print(f"{file.name}: no entry is called {name}")


def neighbours(file: Path) -> Iterator[Entry]:
    """Yield what people may ask about instead: if one fits best, the model refuses."""
    for row in pd.read_csv(file, keep_default_na=False).to_dict("records"):
        yield Entry(row["name"], row["text"], prior=0.1, in_scope=False)


def other_names(file: Path) -> list[str]:
    """Return the names in the column `named_as`: a question with one is refused."""
    table = pd.read_csv(file, keep_default_na=False)
    cells = [cell for cell in table["named_as"] if cell]
    return sorted({name.strip() for cell in cells for name in cell.split("|")})


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
