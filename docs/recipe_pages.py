"""Make the parts of a recipe's page: its top, its picture, its code, its card."""

import io
import json
import re
import textwrap
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from shared import CookbookError
from shared.forks import output_file
from shared.recipes import ROOT, Recipe, discover
from shared.store import open_store

import yaml
from PIL import Image

from benchmarks import report
from docs import preview
from docs.files import DOCS, OUT, read, split, translated
from docs.notebook import made

LANGUAGE = {".py": "python", ".json": "json", ".toml": "toml", ".lock": "toml"}
# MLflow's own log, which is not what the driver prints.
LOG = re.compile(
    r"^(?:\d{4}/\d\d/\d\d |Registered model |Created version |Success).*\n", re.M
)


def last_run(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe's row of build/log-all.json."""
    for row in json.loads(read(ROOT / "build" / "log-all.json", "make log-all")):
        if row["recipe"] == recipe.name and row["status"] == "ok":
            return dict(row)
    raise CookbookError(f"{recipe.name} was not logged: make log-all")


def picture(recipe: Recipe, file: str) -> str:
    """Store an artifact of the last run as WebP; return its place under recipes/."""
    import mlflow

    place = f"figures/{recipe.name}/{Path(file).stem}.webp"
    file_of_site = OUT / "recipes" / place
    if not file_of_site.is_file():  # the card and the Chinese page ask again
        open_store()
        try:
            run = last_run(recipe)["run_id"]
            path = mlflow.artifacts.download_artifacts(run_id=run, artifact_path=file)
        except (mlflow.MlflowException, OSError) as error:
            raise CookbookError(
                f"{recipe.name}: the run has no artifact {file}: {error}"
            ) from None
        Image.open(path).convert("RGB").save(drawn := io.BytesIO(), "webp", quality=85)
        file_of_site.parent.mkdir(parents=True, exist_ok=True)
        file_of_site.write_bytes(drawn.getvalue())
    return place


def metrics(recipe: Recipe) -> str:
    """Return the metrics of the recipe's last run as a table."""
    import mlflow

    open_store()
    logged = mlflow.get_run(last_run(recipe)["run_id"]).data.metrics
    rows = []
    for name, value in sorted(logged.items()):
        rows.append({"metric": f"`{name}`", "value": report.cell(value)})
    return report.markdown(rows)


def code(recipe: Recipe, file: str, locale: str) -> str:
    """Return a file of the recipe, numbered; a lesson's model with its notes."""
    text = read(recipe.path / file, "no such file").rstrip()
    name = f"recipes/{recipe.name}/{file}"
    language = LANGUAGE.get(Path(file).suffix, "text")
    lesson = recipe.front_matter.get("level") != "further"
    if lesson and (file == "model_code.py" or text.count("\n") < 150):
        block = f'```{language} title="{name}" linenums="1"\n{text}\n```'
        if file == "model_code.py":
            block += reasons(recipe, text, locale)
        return block
    block = f"```{language}\n{text}\n```".replace("\n", "\n    ")
    return f'??? example "{name}"\n\n    {block}'


def reasons(recipe: Recipe, text: str, locale: str) -> str:
    """Return docs/notes.yml by line; each line must stand in the code."""
    lines, said = [line.strip() for line in text.splitlines()], []
    for note in yaml.safe_load(read(DOCS / "notes.yml", "keep it"))[recipe.name]:
        if lines.count(note["line"]) != 1:
            raise CookbookError(
                f"docs/notes.yml: {recipe.name} has no such line: {note['line']}"
            )
        number = lines.index(note["line"]) + 1
        said.append(f"- **Line {number}.** {note[locale]}")
    return "\n\n" + translated("\n".join(said), locale)


def printed(recipe: Recipe) -> str:
    """Return what the driver printed."""
    return LOG.sub("", read(output_file("log", recipe), "make log-all")).strip()


def figure(page: Path) -> re.Match[str] | None:
    """Return a page's first figure: its file and what it shows."""
    text = page.read_text(encoding="utf-8")
    return re.search(r"^<!-- figure: (\S+) \| (.*?) -->$", text, re.M)


def drawn(recipe: Recipe) -> Image.Image | None:
    """Return the README's first figure, as the last run drew it."""
    found = figure(recipe.path / "README.md")
    return Image.open(OUT / "recipes" / picture(recipe, found[1])) if found else None


def result(recipe: Recipe, width: int = 36) -> str:
    """Return the first lines of the last table that the driver printed."""
    lines = printed(recipe).rpartition("\n\n")[2].splitlines()[:6]
    return "\n".join(textwrap.wrap(lines[0], width) if len(lines) == 1 else lines)


def preview_card(recipe: Recipe) -> bytes:
    """Return the picture that a link to the recipe's page shows elsewhere."""
    said = recipe.front_matter
    shown = drawn(recipe) or result(recipe, 70)
    return preview.card(said["title"], said["summary"], shown)


def minutes(recipe: Recipe) -> int:
    """Return how long the page and the model take to read."""
    words = len((recipe.path / "README.md").read_text(encoding="utf-8").split())
    code = (recipe.path / "model_code.py").read_text(encoding="utf-8")
    return round(words / 220 + code.count("\n") / 30)


def cards(level: str, locale: str) -> str:
    """Return the recipes of a level, each in a box."""
    boxes = [
        card(recipe, locale)
        for recipe in discover()
        if recipe.front_matter.get("level", "lesson") == level
    ]
    text = "\n\n".join(boxes)
    return f'<div class="grid cards" markdown>\n\n{text}\n\n</div>'


def card(recipe: Recipe, locale: str) -> str:
    """Return a recipe in a box: what came out, what it teaches, how long it takes."""
    twin = DOCS / "recipes" / f"{recipe.name}.{locale}.md"
    page = twin if twin.is_file() else recipe.path / "README.md"
    said = split(page.read_text(encoding="utf-8"))[0]
    if found := figure(page):
        shown = f"![{found[2]}](recipes/{picture(recipe, found[1])}){{ loading=lazy }}"
    else:
        shown = f"```text\n{result(recipe)}\n```"
    title, summary, teaches = (
        translated(said[k], locale) for k in ("title", "summary", "teaches")
    )
    teach = translated("Teaches:", locale)
    seconds = f"{last_run(recipe)['seconds']:.0f}"
    took = f"{minutes(recipe)} min to read, {seconds} s to run"
    link = f"[**{title}**](recipes/{recipe.name}.md)"
    parts = [link, shown, summary, f"*{teach}* {teaches}", translated(took, locale)]
    return "- " + "\n\n".join(parts).replace("\n", "\n    ")


def ran(recipe: Recipe) -> str:
    """Return with which MLflow and when the recipe was run last."""
    import mlflow

    open_store()
    run = last_run(recipe)
    start = mlflow.get_run(run["run_id"]).info.start_time
    version = mlflow.models.get_model_info(run["model_uri"]).mlflow_version
    return f"with MLflow {version} on {datetime.fromtimestamp(start / 1000, UTC):%F}"


def top(recipe: Recipe, head: dict[str, Any], locale: str) -> str:
    """Return what stands below a title: downloads, the last run, what it teaches.

    Green says that the model gave its known answer again in another process.
    """
    checked = read(ROOT / "build" / "smoke-all.txt", "make build/smoke-all.txt")
    if not re.search(rf"\] {recipe.name} +ok\b", checked):
        raise CookbookError(f"{recipe.name} is not ok in build/smoke-all.txt")
    downloads = f"../downloads/{recipe.name}"
    notebook = translated("Download the notebook", locale)
    starter = translated("Download the starter", locale)
    lines = [
        f"[{starter}]({downloads}.zip){{ .md-button .md-button--primary download }}\n"
        f"[{notebook}]({downloads}.ipynb){{ .md-button download }}",
        f"- Last run {ran(recipe)}: green\n"
        f"- {minutes(recipe)} min to read\n"
        f"- **Teaches:** {head['teaches']}",
    ]
    text = translated("\n\n".join(lines), locale)
    return f'<div class="top" markdown>\n\n{text}\n\n</div>'


def notebook(recipe: Recipe) -> str:
    """Return the recipe's notebook, with the output and the picture of the last run."""
    data = io.BytesIO()
    if image := drawn(recipe):
        image.save(data, "jpeg", quality=80)
    return made(recipe, printed(recipe), ran(recipe), data.getvalue())


def foot(recipe: Recipe, locale: str) -> str:
    """Return a page's last line: the versions it was tested with."""
    pins = (recipe.path / "requirements.txt").read_text(encoding="utf-8").split()
    return f"*{translated('Tested with', locale)} {', '.join(pins)}*"
