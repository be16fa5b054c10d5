"""Embed the entries that the model answers from, and write them to entries.parquet.

python recipes/reference_qa/passages.py

A row is an entry and one text that it is compared by; an entry may have several rows.
Its vector is what `numbers` returns: the embedding of the text, and a part of its
topic's; each number times SCALE, rounded, is a byte.
"""

import os
from pathlib import Path

from shared.local_embeddings import local_embeddings

import library
import numpy as np
import pandas as pd
import sources
from openai import OpenAI
from sources import Entry

HERE = Path(__file__).parent
FILE = HERE / "entries.parquet"
NEIGHBOURS = HERE / "neighbours.csv"
SOURCE = f"the library reference of Python {library.VERSION}"
TOPIC = 0.15  # how much the topic counts, in parts of the entry
SCALE = 100  # the numbers of a vector lie within -1.27 and 1.27
BATCH = 64  # texts in one call


def entries() -> list[Entry]:
    """Return what the model answers from."""
    known = sources.with_phrases(library.standard_library(), HERE / "phrases.csv")
    return [*known, *sources.neighbours(NEIGHBOURS)]


def embed(texts: list[str]) -> np.ndarray:
    """Return a vector for each text, by the service that the environment names."""
    model = os.environ["OPENAI_EMBEDDING_MODEL"]
    vectors: list[list[float]] = []
    address = os.environ.get("OPENAI_EMBEDDING_BASE_URL")
    with OpenAI(base_url=address, timeout=600) as client:
        for start in range(0, len(texts), BATCH):
            batch = [text[:1500] for text in texts[start : start + BATCH]]
            reply = client.embeddings.create(
                model=model, input=batch, encoding_format="float"
            )
            vectors += [item.embedding for item in reply.data]
            print(f"\r{len(vectors)} of {len(texts)} texts", end="", flush=True)
    print()
    return np.array(vectors)


def numbers(rows: list[Entry]) -> np.ndarray:
    """Return the entries' vectors as bytes."""
    compared = [row.compared or f"{row.name}: {row.text}" for row in rows]
    topics = sorted({row.topic for row in rows if row.topic})
    vectors = embed([*compared, *topics])
    of_topic = dict(zip(topics, vectors[len(rows) :], strict=True))
    for number, row in enumerate(rows):
        if row.topic:
            vectors[number] += TOPIC * of_topic[row.topic]
    return np.round(vectors[: len(rows)] * SCALE).clip(-127, 127).astype(np.int8)


def main() -> None:
    rows = entries()
    with local_embeddings():
        vectors = numbers(rows)
        model = os.environ["OPENAI_EMBEDDING_MODEL"]
    table = pd.DataFrame(rows)[["name", "text", "link", "prior", "in_scope"]]
    table["vector"] = [vector.tobytes() for vector in vectors]
    table.attrs = {
        "source": SOURCE,
        "embedding_model": model,
        "scale": SCALE,
        "other_names": sources.other_names(NEIGHBOURS),
    }
    table.to_parquet(FILE, index=False, compression="zstd", compression_level=19)
    print(f"{FILE.name}: {table['name'].nunique()} entries, {len(table)} texts")


if __name__ == "__main__":
    main()
