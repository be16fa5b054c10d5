"""The one place that knows which recipes there are, and what holds for all that is run here."""

import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
# The house's rule for recipe runs; MLflow warns of its own type hints when it is imported.
WARNINGS = ["-W", "error", "-W", "ignore::UserWarning:mlflow.types.type_hints"]
FILES = ["README.md", "model_code.py", "driver.py", "requirements.txt"]
FILES += ["request.json", "response.json"]


class UnknownRecipe(LookupError):
    """The name is no recipe; the message lists those that are."""


@dataclass(frozen=True)
class Recipe:
    """One folder under recipes/; its name is the slug, the experiment and the docs address."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def front_matter(self) -> dict[str, Any]:
        """What README.md says between its two `---` lines; LookupError if it has none."""
        file = self.path / "README.md"
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        if not text.startswith("---\n") or "\n---\n" not in text:
            raise LookupError(
                f"{file} must begin with front matter: --- title: ... ---"
            )
        return dict(yaml.safe_load(text[4:].split("\n---\n", 1)[0]))

    @property
    def runs_with(self) -> list[str]:
        """Command prefix that brings up the local service the model needs, a module of shared/.

        -P, or the folder shared/ would come first where the command looks for its imports.
        """
        service = self.front_matter.get("runs_with")
        return (
            [sys.executable, "-P", str(ROOT / "shared" / f"{service}.py")]
            if service
            else []
        )

    def json(self, file: str) -> Any:
        return json.loads((self.path / file).read_text(encoding="utf-8"))


def discover() -> list[Recipe]:
    """Return every recipe in the order of the story: lessons by `order`, then `level: further`."""
    found = [Recipe(path.parent) for path in (ROOT / "recipes").glob("*/model_code.py")]
    if not found:
        raise UnknownRecipe(f"no recipe under {ROOT / 'recipes'}")

    def place(recipe: Recipe) -> tuple[bool, float, str]:
        said = recipe.front_matter
        return (
            said.get("level") == "further",
            said.get("order", float("inf")),
            recipe.name,
        )

    return sorted(found, key=place)


def find(name: str, variable: str = "RECIPE") -> Recipe:
    """Return the recipe of that name, or raise UnknownRecipe with the list of known ones."""
    known = {recipe.name: recipe for recipe in discover()}
    if name not in known:
        said = (
            f"unknown recipe {name!r}"
            if name
            else f"no recipe named: add {variable}=<name>"
        )
        raise UnknownRecipe(f"{said}\nknown: {', '.join(known)}")
    return known[name]


def leave(number: int, _: Any) -> None:
    """End on TERM or Ctrl-C, once: a second one (make passes TERM on) would cut the end short."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)


def show() -> int:
    """Print the recipes, a line each."""
    for recipe in discover():
        print(f"{recipe.name:<22}{recipe.front_matter['summary']}")
    return 0
