"""MkDocs hook: pages come from docs/, from each recipe's own files and from its last run.

Before the build, real Markdown files are written to build/docs. In a recipe's README each of these,
alone on a line, is replaced; whatever is missing stops the build:

    <!-- output -->                 and the text fence after it: what the driver printed
    <!-- code: FILE -->             a file of the recipe
    <!-- figure: FILE | ALT -->     an artifact of the run, as a picture
    <!-- metrics -->                the run's metrics
    <!-- bench -->                  the recipe's measurements, or <!-- bench: NAME -->

In any page of docs/, <!-- recipes --> becomes the table of recipes and <!-- bench: NAME --> the
measurements in benchmarks/results/NAME.json.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError

from shared import results
from shared.log_all import output_file
from shared.recipes import ROOT, Recipe, discover
from shared.store import open_store

OUT = ROOT / "build" / "docs"
MARK = re.compile(
    r"^<!-- (\w+)(?:: (\S+?))?(?: \| (.*?))? -->$(?:\n```text\n.*?\n```$)?", re.M | re.S
)
LANGUAGE = {".py": "python", ".json": "json", ".txt": "text", ".toml": "toml"}


def write(path: Path, data: bytes) -> None:
    """Write only what changed, so that `mkdocs serve` doesn't rebuild for ever."""
    if not path.is_file() or path.read_bytes() != data:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def needed(path: Path, remedy: str) -> Path:
    """Return the path, or stop the build saying how to make what is missing."""
    if not path.is_file():
        raise PluginError(f"{path.relative_to(ROOT)} is missing: {remedy}")
    return path


def last_run(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe's row of build/log-all.json."""
    file = needed(ROOT / "build" / "log-all.json", "make log-all")
    for row in json.loads(file.read_text(encoding="utf-8")):
        if row["recipe"] == recipe.name and row["status"] == "ok":
            return dict(row)
    raise PluginError(f"{recipe.name} was not logged: make log-all")


def figure(recipe: Recipe, file: str, alt: str) -> str:
    """Copy an artifact of the recipe's last run beside its page and return the picture."""
    import mlflow

    open_store()
    try:
        path = mlflow.artifacts.download_artifacts(
            run_id=last_run(recipe)["run_id"], artifact_path=file
        )
    except (mlflow.MlflowException, OSError) as error:
        raise PluginError(f"{recipe.name}: the run has no artifact {file}: {error}") from None
    write(OUT / "recipes" / "figures" / recipe.name / file, Path(path).read_bytes())
    return f"![{alt}](figures/{recipe.name}/{file})"


def metrics(recipe: Recipe) -> str:
    """Return the metrics of the recipe's last run as a table."""
    import mlflow

    open_store()
    found = mlflow.get_run(last_run(recipe)["run_id"]).data.metrics
    return results.markdown(
        [{"metric": f"`{k}`", "value": results.cell(v)} for k, v in sorted(found.items())]
    )


def page(recipe: Recipe) -> str:
    """Return the page that a recipe's README becomes."""

    def fill(mark: re.Match[str]) -> str:
        kind, file, alt = mark.groups()
        match kind:
            case "output":
                text = needed(output_file(recipe), "make log-all").read_text(encoding="utf-8")
                return f'```text title="make log RECIPE={recipe.name}"\n{text.strip()}\n```'
            case "code":
                source = needed(recipe.path / file, "no such file").read_text(encoding="utf-8")
                language = LANGUAGE.get(Path(file).suffix, "text")
                title = f"recipes/{recipe.name}/{file}"
                return f'```{language} title="{title}" linenums="1"\n{source.rstrip()}\n```'
            case "figure":
                return figure(recipe, file, alt or file)
            case "metrics":
                return metrics(recipe)
            case "bench":
                return results.page(file or recipe.name)
        raise PluginError(f"{recipe.name}/README.md: unknown marker {mark[0]!r}")

    body = (recipe.path / "README.md").read_text(encoding="utf-8").split("\n---\n", 1)[1]
    return f"# {recipe.front_matter['title']}\n\n{MARK.sub(fill, body).strip()}\n"


def recipe_table(prefix: str) -> str:
    """Return the table of recipes with links that start with `prefix`."""
    return results.markdown(
        [
            {
                "recipe": f"[{recipe.name}]({prefix}{recipe.name}.md)",
                "what it is": recipe.front_matter["summary"],
                "what it teaches": recipe.front_matter["teaches"],
            }
            for recipe in discover()
        ]
    )


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Write build/docs and the navigation."""
    shutil.rmtree(OUT / "recipes", ignore_errors=True)
    guides = []
    for source in sorted((ROOT / "docs").rglob("*")):
        if source.is_file() and source.suffix in {".md", ".css", ".png", ".svg"}:
            place = source.relative_to(ROOT / "docs")
            data = source.read_bytes()
            if source.suffix == ".md":
                up = "../" * (len(place.parts) - 1)
                table = recipe_table(f"{up}recipes/")
                text = data.decode().replace("<!-- recipes -->", table)
                data = re.sub(r"<!-- bench: (\w+) -->", lambda m: results.page(m[1]), text).encode()
                if place.parts[0] == "guides":
                    guides.append(place.as_posix())
            write(OUT / place, data)
    pages = []
    for recipe in discover():
        write(OUT / "recipes" / f"{recipe.name}.md", page(recipe).encode())
        pages.append({recipe.front_matter["title"]: f"recipes/{recipe.name}.md"})
    config.nav = [{"Home": "index.md"}, {"Recipes": pages}]
    if guides:
        config.nav.append({"Guides": guides})
    config.docs_dir = str(OUT)
    return config
