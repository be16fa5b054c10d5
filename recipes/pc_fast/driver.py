"""Log pc_fast and let it say how sure each edge between eleven proteins is.

python recipes/pc_fast/driver.py
"""

import json
from pathlib import Path

from shared.run import recipe_run, report

import mlflow
import pandas as pd
from cells import real_cells, reference_pairs
from matplotlib.figure import Figure
from mlflow.data.pandas_dataset import from_pandas
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema
from model_code import DEFAULT, PARAMS, discover

HERE = Path(__file__).parent
NAME = "pc_fast"
RESAMPLES = 100
DESCRIPTION = """
**The PC algorithm as a package**: a table in, the edges of its causal graph out, each
with its confidence.

`confidence` is the share of resamples with this very edge, `adjacency` that with any
edge between the two (*edges.json*). `precision` and `recall` are of edges, whichever
way they point, against the reference network. The package `pc_fast` lies in the
model's folder `code`.
"""

# No `inputs`: the model takes a table of any columns. The parameters have defaults.
SIGNATURE = ModelSignature(
    outputs=Schema([ColSpec(DataType.string, name) for name in ("from", "to", "type")]),
    params=PARAMS,
)


def draw(edges: pd.DataFrame) -> Figure:
    """Return a bar for each edge: how often it, or any edge there, was found."""
    arrows = edges["type"].map({"directed": " → ", "undirected": " - "})
    names = edges["from"] + arrows + edges["to"]
    figure = Figure(figsize=(8, 4), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.barh(names, edges["adjacency"], color="#BBBBBB", label="any edge here")
    axes.barh(names, edges["confidence"], color="#0072B2", label="this very edge")
    axes.set_xlabel("share of resamples")
    axes.invert_yaxis()  # the first edge on top
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def main() -> None:
    request = json.loads((HERE / "request.json").read_text(encoding="utf-8"))
    example = pd.DataFrame(**request["dataframe_split"])
    cells = real_cells()  # your table
    params = request["params"]
    discover(cells, **params)  # refuses a table it can't read before anything is logged
    with recipe_run(NAME, DESCRIPTION):
        model = mlflow.pyfunc.log_model(
            name=NAME,
            python_model=HERE / "model_code.py",
            code_paths=[str(HERE / "pc_fast")],  # the package: all of it is copied
            signature=SIGNATURE,
            input_example=(example, params),
            pip_requirements=str(HERE / "requirements.txt"),
        )
        pc = mlflow.pyfunc.load_model(model.model_uri)
        edges = pc.predict(cells, params=params | {"bootstrap": RESAMPLES})
        dataset = from_pandas(cells, name=f"{len(cells)} real cells")
        mlflow.log_input(dataset, context="discovery")
        mlflow.log_params(DEFAULT.model_dump(include={"alpha", "orientation"}))
        mlflow.log_params(params | {"resamples": RESAMPLES})
        reference = reference_pairs()
        pairs = set(map(frozenset, edges[["from", "to"]].to_numpy()))
        correct = len(pairs & reference)
        metrics = {
            "edges": len(edges),
            "precision": correct / max(len(pairs), 1),
            "recall": correct / len(reference),
            "lowest adjacency": edges["adjacency"].min(),
        }
        mlflow.log_metrics(metrics, model_id=model.model_id, dataset=dataset)
        mlflow.log_table(edges, "edges.json")
        mlflow.log_figure(draw(edges), "confidence.png")
        mlflow.register_model(model.model_uri, NAME)
    report(
        model,
        headline=f"{len(edges)} edges in {len(cells)} real cells, {correct} of them in "
        f"the reference network; each in {metrics['lowest adjacency']:.0%} or more of "
        "the resamples",
        prediction=edges,
    )


if __name__ == "__main__":
    main()
