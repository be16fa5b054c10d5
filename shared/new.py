"""Copy a recipe out as a starter: a folder that stands alone, under a name of its own."""

import ast
import re
import shutil
import tempfile
import zipfile
from pathlib import Path

from shared.recipes import ROOT, Recipe, discover

TEMPLATES = Path(__file__).with_name("starter")
# What the copied helpers and the starter's test import, at the lock's versions; uv installs it all.
FRAME = ("filelock", "pyyaml", "pytest", "pip", "uv")
LOCKS = ("dev", "llm", "data")
NEUTRAL = "my_model"  # the name that a starter to download has


class Refused(LookupError):
    """The starter cannot be made there; nothing was written."""


def camel(slug: str) -> str:
    return "".join(part.capitalize() for part in slug.split("_"))


def model_class(recipe: Recipe) -> str:
    """Return the name of the class that model_code.py hands to set_model."""
    tree = ast.parse((recipe.path / "model_code.py").read_text(encoding="utf-8"))
    called = re.match(r"mlflow\.models\.set_model\((\w+)", ast.unparse(tree.body[-1]))
    if not called:
        raise Refused(f"{recipe.name}/model_code.py does not end in mlflow.models.set_model(...)")
    return called[1]


def renames(recipe: Recipe, slug: str) -> dict[str, str]:
    """Return old -> new name of the slug, the model's class and its packages.

    A package keeps no name of the cookbook's: loaded in one process, two models that each bring a
    `pc_fast` would both run the code of the first.
    """
    names = {recipe.name: slug, model_class(recipe): camel(slug)}
    for init in recipe.path.glob("*/__init__.py"):
        own = init.parent.name.removeprefix(f"{recipe.name}_")
        names[init.parent.name] = f"{slug}_{own}"
    return names


def rewrite(text: str, names: dict[str, str], recipe: Recipe) -> str:
    """Return the text under the new names, its paths relative to the starter."""
    text = text.replace(f"recipes/{recipe.name}/", "").replace(f" RECIPE={recipe.name}", "")
    words = "|".join(map(re.escape, names))
    return re.sub(rf"\b({words})\b", lambda word: names[word[1]], text)


def used(recipe: Recipe) -> list[Path]:
    """Return the recipe's files that its model and driver use: imported, or named in a string."""
    found = {recipe.path / "model_code.py", recipe.path / "driver.py"}
    waiting = [*found]
    while waiting:
        nodes = [*ast.walk(ast.parse(waiting.pop().read_text(encoding="utf-8")))]
        words = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        words |= {f"{name}.py" for name in modules(nodes)} | modules(nodes)
        for path in recipe.path.iterdir():
            if path.name in words:
                files = {path} if path.is_file() else {*path.rglob("*.*")}
                fresh = {file for file in files if "__pycache__" not in file.parts} - found
                found |= fresh
                waiting += [file for file in fresh if file.suffix == ".py"]
    known_answer = {recipe.path / "request.json", recipe.path / "response.json"}
    return sorted(found | known_answer | {*recipe.path.glob("requirements*.txt")})


def modules(nodes: list[ast.AST]) -> set[str]:
    """Return the first names of what is imported there."""
    names = [a.name for node in nodes if isinstance(node, ast.Import) for a in node.names]
    names += [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module]
    return {name.split(".")[0] for name in names}


def helpers(sources: list[Path]) -> set[Path]:
    """Return the modules of shared/ that these files import, and those that they import."""
    text = "".join(source.read_text(encoding="utf-8") for source in sources)
    words = re.findall(r"^\s*(?:from|import) shared\.(\w+)", text, re.M)
    found = {ROOT / "shared" / f"{word}.py" for word in words}
    return found if found <= set(sources) else helpers(sorted({*sources, *found}))


def requirements(recipe: Recipe) -> dict[str, str]:
    """Return two files: what the driver and the helpers ask for, and what was tested with it.

    The second holds a hash for each file that may be installed: uv compares.
    """
    locks = [(ROOT / "locks" / f"{lock}.txt").read_text("utf-8") for lock in LOCKS]
    locked = {m[2]: m[1] for m in re.finditer(r"^((\S+)==.*?)(?: \\)?$", locks[0], re.M)}
    own = recipe.path / "requirements-driver.txt"
    asked = own.read_text(encoding="utf-8").splitlines() if own.is_file() else []
    lines = ["-r requirements.txt", *asked, *(locked[name] for name in FRAME)]
    return {
        "requirements-driver.txt": "\n".join(dict.fromkeys(lines)) + "\n",
        "constraints.txt": "".join(locks),
    }


def readme(recipe: Recipe, slug: str, names: dict[str, str]) -> str:
    """Return the starter's README; it keeps the front matter's `runs_with`, which smoke reads."""
    text = (recipe.path / "README.md").read_text(encoding="utf-8")
    said = re.search(r"^## When you copy it\n+(.*?)(?=\n## |\nSources: |\Z)", text, re.M | re.S)
    if not said:
        raise Refused(
            f"{recipe.name}/README.md does not say what to change first: When you copy it"
        )
    service = recipe.front_matter.get("runs_with")
    fields = {
        "SLUG": slug,
        "RECIPE": recipe.name,
        "RUNS_WITH\n": f"runs_with: {service}\n" if service else "",
        "CHANGE_FIRST": rewrite(said[1].strip(), names, recipe),
    }
    page = (TEMPLATES / "README.md").read_text(encoding="utf-8")
    for field, value in fields.items():
        page = page.replace(field, value)
    return page


def new(recipe: Recipe, to: Path) -> Path:
    """Make the starter in the new folder `to`, whose name becomes the slug; return its path."""
    to = to.expanduser().resolve()
    slug = to.name
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", slug):
        raise Refused(f"{slug!r} is no name for a recipe: small letters, digits, _ between words")
    if to.is_relative_to(ROOT):
        raise Refused(f"{to} is inside this repository: a starter stands alone, e.g. TO=../{slug}")
    if to.exists():
        raise Refused(f"{to} is there already")
    names = renames(recipe, slug)
    page = readme(recipe, slug, names)
    for file in used(recipe):
        (to / file.relative_to(recipe.path)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, to / file.relative_to(recipe.path))
    for old, fresh in names.items():
        for path in [path for path in to.iterdir() if path.stem == old]:
            path.rename(path.with_name(path.name.replace(old, fresh)))
    for source in to.rglob("*.py"):
        source.write_text(rewrite(source.read_text(encoding="utf-8"), names, recipe), "utf-8")
    shared = helpers([*to.rglob("*.py"), TEMPLATES / "test_starter.py"])
    if service := recipe.front_matter.get("runs_with"):
        shared.add(ROOT / "shared" / f"{service}.py")
    (to / "shared").mkdir()
    for module in [ROOT / "shared" / "__init__.py", *shared]:
        shutil.copy(module, to / "shared" / module.name)
    for name, text in requirements(recipe).items():
        (to / name).write_text(text, encoding="utf-8")
    (to / "README.md").write_text(page, encoding="utf-8")
    shutil.copy(TEMPLATES / "Makefile", to / "Makefile")
    shutil.copy(TEMPLATES / "gitignore", to / ".gitignore")
    shutil.copy(TEMPLATES / "test_starter.py", to / f"test_{slug}.py")
    return to


def make(recipe: Recipe, to: str) -> int:
    """Make the starter and say what comes next."""
    if not to:
        raise Refused("name the new folder: make new FROM=<recipe> TO=<folder>")
    made = new(recipe, Path(to))
    print(f"{made}\nnow: cd {made} && make test; README.md says what to change first")
    return 0


def starters() -> int:
    """Write each recipe's starter, under a neutral name, to build/starters/<recipe>.zip."""
    for recipe in discover():
        file = ROOT / "build" / "starters" / f"{recipe.name}.zip"
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(file, "w") as archive:
            made = new(recipe, Path(folder) / NEUTRAL)
            for path in sorted(path for path in made.rglob("*") if path.is_file()):
                # With a date of its own the archive is the same each time.
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
        print(file.relative_to(ROOT))
    return 0
