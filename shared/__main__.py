"""Command line behind the Makefile: python -m shared --help."""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from shared import servers
from shared.recipes import Recipe, UnknownRecipe, discover, find


def list_recipes() -> int:
    for recipe in discover():
        print(f"{recipe.name:<22}{recipe.front_matter['summary']}")
    return 0


def log(recipe: Recipe) -> int:
    from shared.smoke import WARNINGS

    return subprocess.call([sys.executable, *WARNINGS, recipe.path / "driver.py"])


def log_all() -> int:
    from shared import log_all as logging_all

    rows = logging_all.log_all(discover())
    logging_all.write(rows)
    print(logging_all.summary(rows))
    place = os.environ.get("MLFLOW_TRACKING_URI") or "`make ui`"
    print(f"\nlook at them: {place}; try them: `make smoke-all`; as JSON: build/log-all.json")
    return int(any(row["status"] == "failed" for row in rows))


def smoke(recipes: list[Recipe]) -> int:
    from shared.smoke import smoke as differences

    def attempt(recipe: Recipe) -> tuple[list[str], float]:
        start = time.perf_counter()
        try:
            wrong = differences(recipe)
        except (LookupError, RuntimeError) as error:
            wrong = [str(error)]
        return wrong, time.perf_counter() - start

    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = zip(recipes, pool.map(attempt, recipes), strict=True)
        for number, (recipe, (wrong, seconds)) in enumerate(outcomes, 1):
            status = "failed" if wrong else "ok"
            print(f"[{number}/{len(recipes)}] {recipe.name:<22} {status:<8}{seconds:6.1f} s")
            for line in wrong:
                print(f"      {line}")
            if wrong:
                print(f"      run it again: make smoke RECIPE={recipe.name}", flush=True)
            failed += bool(wrong)
    return int(failed > 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m shared", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="the recipes, a line each")
    commands.add_parser("log-all", help="log every recipe")
    commands.add_parser("smoke-all", help="reload every model elsewhere, check its answer")
    for name, text in (
        ("log", "run one recipe's driver"),
        ("smoke", "reload its newest model elsewhere, check its answer"),
        ("serve", "serve its newest model over REST on loopback"),
    ):
        commands.add_parser(name, help=text).add_argument("recipe", nargs="?", default="")
    commands.choices["serve"].add_argument("--port", type=int, default=5001)
    ui_parser = commands.add_parser("ui", help="MLflow's web page over .mlflow/ on loopback")
    ui_parser.add_argument("--port", type=int, default=5000)
    args = parser.parse_args()
    try:
        match args.command:
            case "list":
                return list_recipes()
            case "log-all":
                return log_all()
            case "smoke-all":
                return smoke(discover())
            case "ui":
                return servers.ui(args.port)
            case "log":
                return log(find(args.recipe))
            case "smoke":
                return smoke([find(args.recipe)])
            case _:
                return servers.serve(find(args.recipe), args.port)
    except LookupError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, UnknownRecipe) else 1


if __name__ == "__main__":
    sys.exit(main())
