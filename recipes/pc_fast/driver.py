"""Log pc_fast and let it say how sure each edge between eleven proteins is.

python recipes/pc_fast/driver.py
"""

import json
from pathlib import Path

from shared.run import recipe_run, report

import mlflow
import pandas as pd
from cells import REFERENCE, real_cells
from mlflow.data.pandas_dataset import from_pandas
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema
from model_code import DEFAULTS, PARAMS

HERE = Path(__file__).parent
RESAMPLES = 100
DESCRIPTION = """
**The PC algorithm as a package**: a table in, the edges of its causal graph out, with confidence.

`confidence` is the share of resamples with this very edge, `adjacency` that with any edge between
the two (*edges.json*). `precision` and `recall` are of edges, whichever way they point, against the
reference network. The package `pc_fast` lies in the model's folder `code`.
"""

# No `inputs`: the model takes a table of any columns. The parameters have their types and defaults.
SIGNATURE = ModelSignature(
    outputs=Schema([ColSpec(DataType.string, name) for name in ("from", "to", "type")]),
    params=PARAMS,
)


def main() -> None:
    request = json.loads((HERE / "request.json").read_text(encoding="utf-8"))
    example = pd.DataFrame(**request["dataframe_split"])
    cells = real_cells()  # your table
    known = {
        frozenset((cause, effect)) for cause in REFERENCE for effect in REFERENCE[cause]
    }
    with recipe_run(__file__, DESCRIPTION):
        model = mlflow.pyfunc.log_model(
            name="pc_fast",
            python_model=HERE / "model_code.py",
            code_paths=[
                str(HERE / "pc_fast")
            ],  # the package alone: everything in it is copied
            signature=SIGNATURE,
            input_example=example,
            pip_requirements=str(HERE / "requirements.txt"),
            registered_model_name="pc_fast",
        )
        pc = mlflow.pyfunc.load_model(model.model_uri)
        found = pc.predict(cells, params={"bootstrap": RESAMPLES})
        dataset = from_pandas(cells, name=f"{len(cells)} real cells")
        mlflow.log_input(dataset, context="discovery")
        used = {name: DEFAULTS[name] for name in ("alpha", "test", "orientation")}
        mlflow.log_params(used | {"resamples": RESAMPLES})
        pairs = {
            frozenset(pair) for pair in found[["from", "to"]].itertuples(index=False)
        }
        numbers = {
            "edges": len(found),
            "precision": len(pairs & known) / max(len(pairs), 1),
            "recall": len(pairs & known) / len(known),
            "lowest adjacency": found["adjacency"].min(),
        }
        mlflow.log_metrics(numbers, model_id=model.model_id, dataset=dataset)
        mlflow.log_table(found, "edges.json")
    report(
        model,
        headline=f"{len(found)} edges in {len(cells)} real cells, {len(pairs & known)} of "
        f"them in the reference network; each in {numbers['lowest adjacency']:.0%} or more of the "
        "resamples",
        prediction=found,
    )


if __name__ == "__main__":
    main()
