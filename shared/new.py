"""Copy a recipe: out of here as a starter, or in here as a new recipe."""

import builtins
import importlib.util
import keyword
import re
import tokenize
import zipfile
from pathlib import Path

from shared import ROOT, CookbookError
from shared.recipes import FILES, Recipe, discover, find

TEMPLATES = Path(__file__).with_name("starter")
NEUTRAL = "my_model"  # the name that a starter to download has
# What the drivers and the test use, and the packages of these files.
HELPERS = ["__init__.py", "known_answer.py", "run.py", "store.py"]
# The first three are for the SQLite store.
PACKAGES = ["alembic", "sqlalchemy", "filelock", "pytest", "uv"]
SHOWN = ["README.md", "client.py", "typed.py"]  # on the recipe's page alone


def check_name(name: str) -> str:
    """Return the name if a recipe and its package can have it."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        rule = "small letters, digits, _ between words"
        raise CookbookError(f"{name!r} is no name for a recipe: {rule}")
    if keyword.iskeyword(name) or importlib.util.find_spec(name):
        raise CookbookError(f"{name!r} is a word of Python or an installed package")
    return name


def read_names(file: Path) -> set[str]:
    """Return the names in a module's code: defined, imported, of attributes."""
    with tokenize.open(file) as code:
        tokens = list(tokenize.generate_tokens(code.readline))
    return {token.string for token in tokens if token.type == tokenize.NAME}


def check_class(name: str, recipe: Recipe) -> None:
    """Raise CookbookError if a class of that name would hide another name."""
    if hasattr(builtins, name):
        raise CookbookError(f"its class would be {name}, a name of Python")
    for file in recipe_files(recipe):
        if file.suffix == ".py" and name in read_names(file):
            raise CookbookError(f"its class would be {name}, a name in {file.name}")


def new_names(recipe: Recipe, slug: str) -> dict[str, str]:
    """Return old -> new name of the model's class and of the recipe's packages.

    A package keeps no name of the cookbook's: loaded in one process, two models that
    each bring a `pc_fast` would both run the code of the first.
    """
    code = (recipe.path / "model_code.py").read_text(encoding="utf-8")
    model = re.findall(r"^mlflow\.models\.set_model\((\w+)", code, re.M)[-1]
    new_model = "".join(part.capitalize() for part in slug.split("_"))
    names = {model: new_model}
    if new_model != model:
        check_class(new_model, recipe)
    for init in recipe.path.glob("*/__init__.py"):
        own = init.parent.name.removeprefix(recipe.name).removeprefix("_")
        names[init.parent.name] = f"{slug}_{own}".removesuffix("_")
    return names


def rename(text: str, names: dict[str, str]) -> str:
    """Return the text under the new names, in `test_circle_area` as well."""
    pattern = "|".join(map(re.escape, names))
    # A letter or a digit on either side makes it another word, an underscore doesn't.
    whole = rf"(?<![^\W_])({pattern})(?![^\W_])"
    return re.sub(whole, lambda word: names[word[1]], text)


def remove_paths(text: str, recipe: Recipe) -> str:
    """Return the text with the starter's paths and commands."""
    text = text.replace(f"recipes/{recipe.name}/", "")
    return text.replace(f" RECIPE={recipe.name}", "")


def rename_code(path: Path, recipe: Recipe, slug: str) -> str:
    """Return a module of the starter.

    The recipe's name stands in the driver, in its docstring and as NAME; elsewhere it
    may be the name of a column.
    """
    code = remove_paths(path.read_text(encoding="utf-8"), recipe)
    if path.name == "driver.py":
        docstring, quotes, rest = code.partition('"""\n')
        docstring = rename(docstring, {recipe.name: slug})
        rest = rest.replace(f'NAME = "{recipe.name}"', f'NAME = "{slug}"')
        code = docstring + quotes + rest
    return rename(code, new_names(recipe, slug))


def recipe_files(recipe: Recipe) -> list[Path]:
    """Return the files of a recipe that its starter has."""
    return [
        path
        for path in recipe.path.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and str(path.relative_to(recipe.path)) not in SHOWN
    ]


def helpers(recipe: Recipe) -> list[Path]:
    """Return the files of shared/ and of check-model that the recipe's starter has."""
    names = [*HELPERS]
    if service := recipe.front_matter.get("runs_with"):
        names += {f"{service}.py", "local_llm.py"}  # which serves for both
    return [ROOT / "shared" / name for name in names] + [
        *(ROOT / "check_model").glob("*.*")
    ]


def locked_packages() -> dict[str, tuple[str, set[str]]]:
    """Return the pin of each locked package, and the packages that require it."""
    packages: dict[str, tuple[str, set[str]]] = {}
    for lock in ("dev", "llm", "data"):
        text = (ROOT / f"locks/{lock}.txt").read_text(encoding="utf-8")
        for lines in re.split(r"^(?=[a-z0-9])", text, flags=re.M)[1:]:
            pin = lines.split(" \\\n")[0].strip()
            parents = lines.partition("    # via ")[2]
            name = re.split(r"[=\[ ]", pin)[0]
            packages.setdefault(name, (pin, set(re.findall(r"[\w.-]+", parents))))
    return packages


def list_requirements(recipe: Recipe) -> dict[str, str]:
    """Return what the driver and the helpers ask for, and what was tested with it.

    The second has the exact version of each package that may be installed. It has no
    hashes, so that a version can be changed by hand.
    """
    packages = locked_packages()
    files = [file.read_text("utf-8") for file in recipe.path.glob("requirements*.txt")]
    wanted = {*re.findall(r"^[\w.-]+", "\n".join(files), re.M), *PACKAGES}
    while more := {n for n in packages if packages[n][1] & wanted} - wanted:
        wanted |= more
    own = recipe.path / "requirements-driver.txt"
    asked = own.read_text(encoding="utf-8").splitlines() if own.is_file() else []
    lines = ["-r requirements.txt", *asked, *(packages[name][0] for name in PACKAGES)]
    constraints = [packages[name][0] for name in sorted(wanted & packages.keys())]
    return {
        "requirements-driver.txt": "\n".join(dict.fromkeys(lines)) + "\n",
        "constraints.txt": "\n".join(constraints) + "\n",
    }


def fill(template: str, recipe: Recipe, slug: str) -> str:
    """Return a file of shared/starter/ for the starter of that name."""
    service = recipe.front_matter.get("runs_with")
    command = f".venv/bin/python -P shared/{service}.py " if service else ""
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    text = text.replace("SERVICE ", command)
    return text.replace("SLUG", slug).replace("ORIGIN", recipe.name)


def readme_text(recipe: Recipe, slug: str) -> str:
    """Return the starter's README, with the recipe's "When you copy it"."""
    text = (recipe.path / "README.md").read_text(encoding="utf-8")
    section = r"^## When you copy it\n.*?(1\. .*?)(?=\n## |\nSources: |\Z)"
    (steps,) = re.findall(section, text, re.M | re.S)
    names = {recipe.name: slug, **new_names(recipe, slug)}
    text = rename(remove_paths(steps.strip(), recipe), names)
    return fill("README.md", recipe, slug).replace("CHANGE_FIRST", text)


def starter_files(recipe: Recipe, slug: str) -> dict[str, bytes]:
    """Return the files of the recipe's starter of that name: path and content."""
    files = {}
    for path in helpers(recipe):
        files[path.relative_to(ROOT).as_posix()] = path.read_bytes()
    for path in recipe_files(recipe):
        data = path.read_bytes()
        if path.suffix == ".py":
            data = rename_code(path, recipe, slug).encode()
        place = path.relative_to(recipe.path).as_posix()
        files[rename(place, new_names(recipe, slug))] = data
    texts = {**list_requirements(recipe), "README.md": readme_text(recipe, slug)}
    for place in ("Makefile", ".gitignore", "test_starter.py"):
        text = fill(place.removeprefix("."), recipe, slug)
        texts[place.replace("starter", slug)] = text
    files |= {place: text.encode() for place, text in texts.items()}
    return dict(sorted(files.items()))


def write_starter(recipe: Recipe, to: Path) -> Path:
    """Make the starter in the new folder `to`, whose name becomes the slug."""
    to = to.expanduser().resolve()
    slug = check_name(to.name)
    if to.exists():
        raise CookbookError(f"{to} is there already")
    for place, data in starter_files(recipe, slug).items():
        (to / place).parent.mkdir(parents=True, exist_ok=True)
        (to / place).write_bytes(data)
    return to


def make_starter(recipe: Recipe, to: str) -> int:
    """Make the starter and say what comes next."""
    if not to:
        raise CookbookError("name the new folder: make new FROM=<recipe> TO=<folder>")
    made = write_starter(recipe, Path(to))
    print(f"{made}\nnow: cd {made} && make test; README.md says what to change first")
    return 0


def zip_starters() -> int:
    """Write each recipe's starter to `build/starters/<recipe>.zip`, as `my_model`."""
    for recipe in discover():
        file = ROOT / "build" / "starters" / f"{recipe.name}.zip"
        file.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(file, "w") as archive:
            for place, data in starter_files(recipe, NEUTRAL).items():
                # An entry has the date 1980, so that the file is the same each time.
                entry = zipfile.ZipInfo(f"{NEUTRAL}/{place}")
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
        print(file.relative_to(ROOT))
    return 0


def start_recipe(name: str) -> int:
    """Start `recipes/<name>` and its tests as a copy of circle_area."""
    origin, slug = find("circle_area"), check_name(name)
    names = {origin.name: slug, **new_names(origin, slug)}
    title = slug.replace("_", " ").capitalize()
    sources = [f"recipes/circle_area/{file}" for file in FILES]
    sources += ["tests/test_circle_area.py", "tests/copies/circle_area.yaml"]
    files = {source: ROOT / rename(source, names) for source in sources}
    for file in files.values():
        if file.exists():
            raise CookbookError(f"{file} is there already; nothing was written")
    for source, file in files.items():
        text = rename((ROOT / source).read_text(encoding="utf-8"), names)
        if file.name == "README.md":
            head = f"---\nlevel: further\ntitle: {title}\n"
            head += f"summary: {title}, in a sentence.\n"
            text = head + text[text.index("teaches:") :]
            own_section = r"## Two ways to declare the input\n.*?(?=## )"
            text = re.sub(own_section, "", text, flags=re.S)
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
        print(file.relative_to(ROOT))
    page = ROOT / "README.md"
    row = f"| [{slug}](recipes/{slug}/) | {title} |"
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"((?:^\| \[.*\n)+)", rf"\g<1>{row}\n", text, flags=re.M)
    page.write_text(text, encoding="utf-8")
    print(f"README.md\nnow: make log accept smoke RECIPE={slug}")
    print("CONTRIBUTING.md says what to change")
    return 0
