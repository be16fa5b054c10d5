"""Copy a recipe out as a starter: a folder that stands alone, under a name of its own."""

import ast
import re
import shutil
from pathlib import Path

from shared.recipes import ROOT, Recipe

TEMPLATES = Path(__file__).with_name("starter")
# What the copied helpers and the starter's test import, at the lock's versions.
FRAME = ("filelock", "pyyaml", "pytest")


class Refused(LookupError):
    """The starter cannot be made there; nothing was written."""


def camel(slug: str) -> str:
    return "".join(part.capitalize() for part in slug.split("_"))


def pins(lock: str) -> dict[str, str]:
    """Return name -> requirement (`numpy==2.4.6`, with its marker) of a file under locks/."""
    text = (ROOT / "locks" / lock).read_text(encoding="utf-8")
    return {m[2]: m[1] for m in re.finditer(r"^((\S+)==.*?)(?: \\)?$", text, re.M)}


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


def helpers(sources: list[Path]) -> set[Path]:
    """Return the modules of shared/ that these files import, and those that they import."""
    found: set[Path] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            match node:
                case ast.ImportFrom(module="shared", names=names):
                    modules = [alias.name for alias in names]
                case ast.ImportFrom(module=str(module)) if module.startswith("shared."):
                    modules = [module.split(".")[1]]
                case ast.Import(names=names):
                    modules = [a.name[7:] for a in names if a.name.startswith("shared.")]
                case _:
                    continue
            found |= {ROOT / "shared" / f"{module}.py" for module in modules} - found
    return found | helpers(sorted(found)) if found - set(sources) else found


def requirements(recipe: Recipe) -> dict[str, str]:
    """Return two files: what the driver and the helpers ask for, and the versions of all it brings.

    Without the second a later version of some dependency could make the starter warn or fail.
    """
    locked = pins("dev.txt")
    own = recipe.path / "requirements-driver.txt"
    asked = own.read_text(encoding="utf-8").splitlines() if own.is_file() else []
    files = {
        "requirements-driver.txt": ["-r requirements.txt", *asked, *(locked[f] for f in FRAME)],
        "constraints.txt": [*locked.values(), *pins("llm.txt").values()],
    }
    return {name: "\n".join(dict.fromkeys(text)) + "\n" for name, text in files.items()}


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
    shutil.copytree(
        recipe.path,
        to,
        ignore=shutil.ignore_patterns("__pycache__", ".*", "README.md", "requirements-driver.txt"),
    )
    for old, fresh in names.items():
        for path in [path for path in to.iterdir() if path.stem == old]:
            path.rename(path.with_name(path.name.replace(old, fresh)))
    for source in to.rglob("*.py"):
        source.write_text(rewrite(source.read_text(encoding="utf-8"), names, recipe), "utf-8")
    shared = helpers([*to.rglob("*.py"), TEMPLATES / "test_starter.py"])
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
