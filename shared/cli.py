"""The commands behind the Makefile; they take make's variables from the environment.

RECIPE=circle_area PORT=5001 python -m shared.cli serve
"""

import importlib
import os
import sys
from typing import Any

from shared import CookbookError
from shared.processes import stop_on_term
from shared.recipes import find

# make target: module and function, which returns the exit code; variables it takes
COMMANDS = {
    "list": "recipes.print_recipes",
    "log": "servers.log RECIPE",
    "log-all": "servers.log_all",
    "smoke": "servers.smoke RECIPE",
    "smoke-all": "servers.smoke_all",
    "isolated": "smoke.check_isolated RECIPE",
    "check-model": "servers.check_model RECIPE",
    "accept": "smoke.accept RECIPE",
    "new": "new.make_starter FROM TO",
    "starters": "new.zip_starters",
    "recipe": "new.start_recipe NAME",
    "serve": "servers.serve RECIPE PORT",
    "serve-agent": "servers.serve_agent RECIPE PORT",
    "ui": "servers.ui PORT",
    "register": "registry.register RECIPE",
    "promote": "registry.promote RECIPE VERSION",
    "registry": "registry.print_versions",
    "score-spark": "spark.score_file RECIPE INPUT OUTPUT PARAMS GROUP_BY",
}


def read_variable(variable: str, command: str) -> Any:
    """Return a make variable's value; CookbookError if the command can't use it."""
    text = os.environ.get(variable, "")
    if variable in ("RECIPE", "FROM"):
        return find(text, variable)
    if variable == "PORT":
        text = text or ("5000" if command == "ui" else "5001")
        if not (text.isdecimal() and 0 < int(text) < 65536):
            raise CookbookError(f"PORT={text!r}: give a number from 1 to 65535")
        return int(text)
    return text


def main(command: str) -> int:
    """Run the command; 1 if it fails."""
    stop_on_term()
    place, *variables = COMMANDS[command].split()
    module, function = place.split(".")
    try:
        values = [read_variable(variable, command) for variable in variables]
        run = getattr(importlib.import_module(f"shared.{module}"), function)
        return int(run(*values))
    except CookbookError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        from shared.run import print_error

        print_error(type(error), error, error.__traceback__)
        return 1


if __name__ == "__main__":
    import shared.run  # noqa: F401  # a command is short: no search for garbage

    sys.exit(main(sys.argv[1]))
