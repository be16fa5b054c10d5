"""What a recipe is on the site: its picture, its code, its card, its downloads."""

import io
import json
import re
import textwrap
from pathlib import Path
from typing import Any

from shared.forks import output_file
from shared.recipes import ROOT, Recipe
from shared.store import open_store

import yaml
from mkdocs.exceptions import PluginError

from benchmarks import report

DOCS, OUT = ROOT / "docs", ROOT / "build" / "docs"
LANGUAGE = {".py": "python", ".json": "json", ".toml": "toml", ".lock": "toml"}
CHINESE = yaml.safe_load((DOCS / "words.zh.yml").read_text(encoding="utf-8"))
WORD = re.compile(
    r"(?<=\| )[^|\n]+?(?= \|)|(?<=\*\*)[^*\n]+(?=\*\*)|(?<=>)[^<>\n]+(?=<)"
)
# MLflow's own log, which is not what the driver prints.
LOG = re.compile(
    r"^(?:\d{4}/\d\d/\d\d |Registered model |Created version |Success).*\n", re.M
)


def read(path: Path, remedy: str) -> str:
    """Return the file's text, or stop the build saying how to make what is missing."""
    if not path.is_file():
        raise PluginError(f"{path.relative_to(ROOT)} is missing: {remedy}")
    return path.read_text(encoding="utf-8")


def translated(text: str, locale: str) -> str:
    """Return what code has made in the page's language, by docs/words.zh.yml."""
    if locale == "en" or text in CHINESE["words"]:
        return str(text if locale == "en" else CHINESE["words"][text])
    for sentence, chinese in CHINESE["sentences"].items():
        text = re.sub(sentence, chinese, text)
    return WORD.sub(lambda found: CHINESE["words"].get(found[0], found[0]), text)


def split(text: str) -> tuple[dict[str, Any], str]:
    """Return a page's front matter and its body."""
    if not text.startswith("---\n"):
        return {}, text
    head, body = text[4:].split("\n---\n", 1)
    return yaml.safe_load(head), body


def last_run(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe's row of build/log-all.json."""
    for row in json.loads(read(ROOT / "build" / "log-all.json", "make log-all")):
        if row["recipe"] == recipe.name and row["status"] == "ok":
            return dict(row)
    raise PluginError(f"{recipe.name} was not logged: make log-all")


def picture(recipe: Recipe, file: str) -> str:
    """Store an artifact of the last run as WebP; return its place under recipes/."""
    import mlflow
    from PIL import Image

    place = f"figures/{recipe.name}/{Path(file).stem}.webp"
    if not (
        OUT / "recipes" / place
    ).is_file():  # the card and the Chinese page ask again
        open_store()
        try:
            run = last_run(recipe)["run_id"]
            path = mlflow.artifacts.download_artifacts(run_id=run, artifact_path=file)
        except (mlflow.MlflowException, OSError) as error:
            raise PluginError(
                f"{recipe.name}: the run has no artifact {file}: {error}"
            ) from None
        Image.open(path).convert("RGB").save(drawn := io.BytesIO(), "webp", quality=85)
        (OUT / "recipes" / place).parent.mkdir(parents=True, exist_ok=True)
        (OUT / "recipes" / place).write_bytes(drawn.getvalue())
    return place


def metrics(recipe: Recipe) -> str:
    """Return the metrics of the recipe's last run as a table."""
    import mlflow

    open_store()
    found = mlflow.get_run(last_run(recipe)["run_id"]).data.metrics
    return report.markdown(
        [
            {"metric": f"`{k}`", "value": report.cell(v)}
            for k, v in sorted(found.items())
        ]
    )


def code(recipe: Recipe, file: str, locale: str) -> str:
    """Return a file of the recipe, numbered; a lesson's model with its notes."""
    text = read(recipe.path / file, "no such file").rstrip()
    name, language = (
        f"recipes/{recipe.name}/{file}",
        LANGUAGE.get(Path(file).suffix, "text"),
    )
    lesson = recipe.front_matter.get("level") != "further"
    if lesson and (file == "model_code.py" or text.count("\n") < 150):
        block = f'```{language} title="{name}" linenums="1"\n{text}\n```'
        return block + (
            reasons(recipe, text, locale) if file == "model_code.py" else ""
        )
    block = f'```{language} linenums="1"\n{text}\n```'.replace("\n", "\n    ")
    return f'??? example "{name}"\n\n    {block}'


def reasons(recipe: Recipe, text: str, locale: str) -> str:
    """Return docs/notes.yml by line; each line must stand in the code."""
    lines, said = [line.strip() for line in text.splitlines()], []
    for note in yaml.safe_load(read(DOCS / "notes.yml", "keep it"))[recipe.name]:
        if lines.count(note["line"]) != 1:
            raise PluginError(
                f"docs/notes.yml: {recipe.name} has no such line: {note['line']}"
            )
        number = lines.index(note["line"]) + 1
        said.append(f"- **Line {number}.** {note[locale]}")
    return "\n\n" + translated("\n".join(said), locale)


def printed(recipe: Recipe) -> str:
    """Return what the driver printed."""
    return LOG.sub("", read(output_file("log", recipe), "make log-all")).strip()


def card(recipe: Recipe, locale: str) -> str:
    """Return a lesson in a box: what came out, what it teaches, how long it takes."""
    readme = (recipe.path / "README.md").read_text(encoding="utf-8")
    twin = DOCS / "recipes" / f"{recipe.name}.{locale}.md"
    said = split(twin.read_text("utf-8"))[0] if twin.is_file() else recipe.front_matter
    if drawn := re.search(r"^<!-- figure: (\S+) \| (.*?) -->$", readme, re.M):
        shown = f"![{drawn[2]}](recipes/{picture(recipe, drawn[1])}){{ loading=lazy }}"
    else:
        table = printed(recipe).rpartition("\n\n")[2].splitlines()[:6]
        table = textwrap.wrap(table[0], 36) if len(table) == 1 else table  # a sentence
        shown = "\n".join(["```text", *table, "```"])
    lines = (recipe.path / "model_code.py").read_text(encoding="utf-8").count("\n")
    minutes = round(len(readme.split()) / 220 + lines / 30)
    title, summary, teaches = (
        translated(said[k], locale) for k in ("title", "summary", "teaches")
    )
    teach = translated("Teaches:", locale)
    took = f"{minutes} min to read, {last_run(recipe)['seconds']:.0f} s to run"
    link = f"[**{title}**](recipes/{recipe.name}.md)"
    parts = [link, shown, summary, f"*{teach}* {teaches}", translated(took, locale)]
    return "- " + "\n\n".join(parts).replace("\n", "\n    ")


def after(recipe: Recipe, locale: str) -> str:
    """Return a page's foot: downloads, and the versions it was tested with."""
    starter, tested = (
        translated("Starter (zip)", locale),
        translated("Tested with", locale),
    )
    pins = (recipe.path / "requirements.txt").read_text(encoding="utf-8").split()
    links = [f"[Notebook](../downloads/{recipe.name}.ipynb){{ .md-button download }}"]
    if (ROOT / "build" / "starters" / f"{recipe.name}.zip").is_file():
        links.insert(
            0, f"[{starter}](../downloads/{recipe.name}.zip){{ .md-button download }}"
        )
    return f"\n\n{' '.join(links)}\n\n*{tested} {', '.join(pins)}*\n"
