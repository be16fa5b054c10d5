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
from model_code import PARAMS, Settings, discover
from networks import real_cells, sample, true_edges

HERE = Path(__file__).parent
NAME = "pc_causal_discovery"
DESCRIPTION = """
**The PC algorithm as a model**: a table of observations in, the edges of its causal
graph out.

`precision` and `recall` compare the edges in 853 real cells with the reference network,
in whichever direction they point; `directed right` counts the directions that are the
reference's. `sampled SHD` is the structural Hamming distance to
that network from 10,000 rows that were sampled from it: the number of pairs of columns
on which the two graphs differ. *edges.json* has the edges in the real cells;
*graph.png* also shows those that were missed.
"""

# No inputs: the model takes any table. Its parameters have types and defaults.
SIGNATURE = ModelSignature(
    outputs=Schema([ColSpec(DataType.string, name) for name in ("from", "to", "type")]),
    params=PARAMS,
)


def main() -> None:
    request = json.loads((HERE / "request.json").read_text(encoding="utf-8"))
    example = pd.DataFrame(**request["dataframe_split"])
    params = request.get("params", {})
    cells = real_cells()  # your table
    for table in (example, cells):
        discover(table, **params)  # a bad table ends here, before anything is logged

    with recipe_run(NAME, DESCRIPTION):
        model = mlflow.pyfunc.log_model(
            name=NAME,
            python_model=HERE / "model_code.py",
            signature=SIGNATURE,
            input_example=(example, params),
            pip_requirements=str(HERE / "requirements.txt"),
        )
        mlflow.log_params(Settings(**params).model_dump(mode="json"))
        pc = mlflow.pyfunc.load_model(model.model_uri)
        edges = pc.predict(cells, params=params)
        mlflow.log_table(edges, "edges.json")
        headline = f"{len(edges)} edges in {len(cells)} cells"

        # Where a graph is known: how close the edges come to it.
        arrows = true_edges("sachs")
        truth = cpdag(list(cells), arrows)
        quality = compare(edges, truth)
        del quality["SHD"]  # the truth has no directions from knowledge
        directed = edges[edges["type"] == "directed"]
        pairs = directed[["from", "to"]].itertuples(index=False, name=None)
        quality["directed"] = len(directed)
        quality["directed right"] = sum(pair in arrows for pair in pairs)
        dataset = from_pandas(cells, name=f"{len(cells)} real cells")
        mlflow.log_input(dataset, context="discovery")
        mlflow.log_metrics(quality, model_id=model.model_id, dataset=dataset)
        title = "Proteins in 853 cells: edges found and edges of the reference network"
        mlflow.log_figure(draw(list(cells), edges, truth, title), "graph.png")

        # And from rows sampled from the network's own probabilities, without knowledge.
        rows = sample("sachs", 10_000, seed=0)
        distance = compare(pc.predict(rows), cpdag(list(rows), true_edges("sachs")))
        sampled = from_pandas(rows, name="10,000 sampled rows")
        mlflow.log_input(sampled, context="evaluation")
        shd = {"sampled SHD": distance["SHD"]}
        mlflow.log_metrics(shd, model_id=model.model_id, dataset=sampled)
        headline += (
            f": precision {quality['precision']:.2f}, recall {quality['recall']:.2f}, "
            f"{quality['directed right']} of {quality['directed']} directions right; "
            f"SHD {distance['SHD']} on {len(rows):,} rows sampled from the network"
        )
        mlflow.register_model(model.model_uri, NAME)
    report(model, headline=headline, prediction=edges)


if __name__ == "__main__":
    main()
