"""Cut Python's reference into passages and sentences, and keep them with their vectors.

    python recipes/reference_qa/passages.py

Writes passages.parquet. A row is a passage (`sentence` is null) or one of its sentences (`text` is
null). `vector` is its embedding, of length 1: each number times `scale`, rounded, a byte. That is a
quarter of the size of float16 and finds as well. The file's attributes name text, model and scale.
"""

import os
import platform
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from shared.local_embeddings import local_embeddings
from shared.local_llm import local_llm

import numpy as np
import pandas as pd
from openai import OpenAI

FILE = Path(__file__).with_name("passages.parquet")
MAX_CHARS = 700  # of a passage: about 150 tokens
SCALE = 50  # the numbers of a vector lie within -0.5 and 0.5
SOURCE = f"pydoc_data.topics of Python {platform.python_version()}"


def documents() -> dict[str, str]:
    """Return the texts to answer from by name: the topics behind `help("with")` in any Python."""
    return dict(import_module("pydoc_data.topics").topics)


def passages(text: str) -> Iterator[tuple[str, str]]:
    """Yield (heading, passage): whole paragraphs of one section where they fit into MAX_CHARS."""
    heading, held = "", ""
    for block in re.split(r"\n\s*\n", text.strip()):
        lines = block.strip().splitlines()
        if len(lines) == 2 and re.fullmatch(r"([*=~-])\1{3,}", lines[1].strip()):
            if held:
                yield heading, held
            heading, held = lines[0].strip(), ""
            continue
        parts, gap = [block], "\n\n"
        if len(block) > MAX_CHARS:
            parts, gap = re.split(r"(?<=[.:;])\s+|\n", block), "\n"
        for part in parts:
            if held and len(held) + len(part) > MAX_CHARS:
                yield heading, held
                held = ""
            held = f"{held}{gap}{part}" if held else part
    if held:
        yield heading, held


def sentences(passage: str) -> list[str]:
    """Return the sentences of a passage, each on one line; rows of tables are none."""
    parts = re.split(r"\n\s*\n|(?<=[.:;?!])\s+(?=[A-Z“\"*\[(])", passage)
    lines = [" ".join(part.split()) for part in parts]
    return [
        line
        for line in lines
        if len(line) > 25 and not re.search(r"[-=]{3}|^\||\| \|", line)
    ]


def rows() -> Iterator[dict[str, Any]]:
    """Yield the file's rows without their vectors, and what to embed as `embedded`."""
    seen = set()
    for name, text in documents().items():
        for number, (heading, passage) in enumerate(passages(text)):
            flat = " ".join(passage.split())
            if len(flat) < 40 or flat in seen:  # the topics repeat one another
                continue
            seen.add(flat)
            for line in [None, *(sentences(passage) or [flat])]:
                about = f"{name}: {heading}. {flat}" if line is None else line
                # The rules of tables are no words, but a token for each character.
                embedded = re.sub(r"([-=*~+|])\1+", " ", about)
                kept = passage.strip("\n") if line is None else None
                yield dict(
                    id=f"{name}#{number}", text=kept, sentence=line, embedded=embedded
                )


def embed(texts: list[str]) -> np.ndarray:
    """Return the vectors of the texts, int8 (n, d), by the service that is named; progress."""
    found: list[list[float]] = []
    with OpenAI(
        base_url=os.environ.get("OPENAI_EMBEDDING_BASE_URL"), timeout=600
    ) as client:
        model = os.environ["OPENAI_EMBEDDING_MODEL"]
        for start in range(0, len(texts), 64):
            reply = client.embeddings.create(
                model=model, input=texts[start : start + 64], encoding_format="float"
            )
            found += [item.embedding for item in reply.data]
            print(f"\r{len(found)} of {len(texts)} embedded", end="", flush=True)
    print()
    return np.round(np.array(found) * SCALE).clip(-127, 127).astype(np.int8)


def main() -> None:
    table = pd.DataFrame(rows())
    with local_llm(), local_embeddings():
        vectors = embed(table.pop("embedded").tolist())
        model = os.environ["OPENAI_EMBEDDING_MODEL"]
    table["vector"] = [vector.tobytes() for vector in vectors]
    table.attrs = {"source": SOURCE, "embedding_model": model, "scale": SCALE}
    table.to_parquet(FILE, index=False, compression="zstd", compression_level=19)
    print(f"{FILE.name}: {table['sentence'].isna().sum()} passages, {len(table)} rows")


if __name__ == "__main__":
    main()
