"""Log pc_causal_discovery and let it find the graph behind real cells.

python recipes/pc_causal_discovery/driver.py
"""

from pathlib import Path

import mlflow
from evaluation import compare, cpdag, draw
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema
from model_code import DEFAULTS, PARAMS
from networks import real_cells, sample, true_edges

from shared.run import recipe_run, report

HERE = Path(__file__).parent

# No `inputs`: the model takes a table of any columns. The parameters have their types and defaults.
SIGNATURE = ModelSignature(
    outputs=Schema([ColSpec(DataType.string, name) for name in ("from", "to", "type")]),
    params=PARAMS,
)


def main() -> None:
    cells = real_cells()
    with recipe_run(__file__, __doc__):
        mlflow.log_params({name: DEFAULTS[name] for name in ("alpha", "test", "orientation")})
        model = mlflow.pyfunc.log_model(
            name="pc_causal_discovery",
            python_model=HERE / "model_code.py",
            code_paths=[str(HERE / "pc_fast")],  # the package alone: everything in it is copied
            signature=SIGNATURE,
            input_example=cells.head(200),
            pip_requirements=str(HERE / "requirements.txt"),
        )
        pc = mlflow.pyfunc.load_model(model.model_uri)

        found = pc.predict(cells, params={"bootstrap": 100})
        truth = cpdag(list(cells), true_edges("sachs"))
        real = compare(found, truth)
        mlflow.log_metrics(real)
        title = "Eleven proteins in 853 cells: the edges found, and those of the reference network"
        mlflow.log_figure(draw(list(cells), found, truth, title), "graph.png")
        mlflow.log_table(found, "edges.json")

        # The same network where it is the truth for sure: rows drawn from its probabilities.
        rows = sample("sachs", 10_000, seed=0)
        drawn = compare(pc.predict(rows), cpdag(list(rows), true_edges("sachs")))
        mlflow.log_metrics({f"sampled_{name}": value for name, value in drawn.items()})
    report(
        model,
        headline=f"{real['edges']} edges in real cells, precision {real['precision']:.2f}, recall "
        f"{real['recall']:.2f}; SHD {drawn['shd']} on {len(rows):,} rows sampled from the network",
        prediction=found,
    )


if __name__ == "__main__":
    main()
