"""Log pc_causal_discovery and let it find the graph behind real cells.

python recipes/pc_causal_discovery/driver.py
"""

import json
from pathlib import Path

from shared.run import recipe_run, report

import mlflow
import pandas as pd
from evaluation import compare, cpdag, draw
from mlflow.data.pandas_dataset import from_pandas
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema
from model_code import PARAMS, Settings
from networks import real_cells, sample, true_edges

HERE = Path(__file__).parent
DESCRIPTION = """
**The PC algorithm as a model**: a table of observations in, the edges of its causal graph out.

`precision` and `recall` are of edges, whichever way they point, against the reference network;
`SHD` counts the pairs of columns on which the two graphs differ in any way. The metrics of the real
cells are linked to the dataset *853 real cells*, those of drawn rows to *10,000 sampled rows*.
*edges.json* is what was found, *graph.png* shows what was missed besides.
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
    truth = cpdag(
        list(cells), true_edges("sachs")
    )  # a graph to compare with, if there is one
    with recipe_run(__file__, DESCRIPTION):
        model = mlflow.pyfunc.log_model(
            name="pc_causal_discovery",
            python_model=HERE / "model_code.py",
            signature=SIGNATURE,
            input_example=example,
            pip_requirements=str(HERE / "requirements.txt"),
            registered_model_name="pc_causal_discovery",
        )
        pc = mlflow.pyfunc.load_model(model.model_uri)
        found = pc.predict(cells)
        dataset = from_pandas(cells, name=f"{len(cells)} real cells")
        mlflow.log_input(dataset, context="discovery")
        mlflow.log_params(Settings().model_dump(include={"alpha", "test", "max_k"}))
        real = compare(found, truth)
        mlflow.log_metrics(real, model_id=model.model_id, dataset=dataset)
        title = "Eleven proteins in 853 cells: the edges found, and those of the reference network"
        mlflow.log_figure(draw(list(cells), found, truth, title), "graph.png")
        mlflow.log_table(found, "edges.json")

        # The same network where it is the truth for sure: rows drawn from its probabilities.
        rows = sample("sachs", 10_000, seed=0)
        drawn = compare(pc.predict(rows), cpdag(list(rows), true_edges("sachs")))
        dataset = from_pandas(rows, name="10,000 sampled rows")
        mlflow.log_input(dataset, context="evaluation")
        sampled = {f"sampled {name}": value for name, value in drawn.items()}
        mlflow.log_metrics(sampled, model_id=model.model_id, dataset=dataset)
    report(
        model,
        headline=f"{real['edges']} edges in real cells, precision {real['precision']:.2f}, recall "
        f"{real['recall']:.2f}; SHD {drawn['SHD']} on {len(rows):,} rows sampled from the network",
        prediction=found,
    )


if __name__ == "__main__":
    main()
