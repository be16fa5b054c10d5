"""Ask an OpenAI-compatible service for JSON of one schema, about thousands of texts.

This package is stored with the model by `code_paths`. Rename it in your copy: if two
models in one process bring packages of the same name, both run the code of the first.
"""

from .service import Config, Reply, Service, Strict

__all__ = ["Config", "Reply", "Service", "Strict"]
