"""CDNOW: the public purchase history that customer-base models are measured on.

Orders of the 23,570 customers whose first order fell into January to March 1997, up to June 1998.
The `lifetimes` package carries it; only the data is used, and `lifetimes.datasets` is not imported,
because it needs a `pkg_resources` that setuptools no longer has.

Source: Fader and Hardie, "Forecasting Repeat Sales at CDNOW" (2001).
"""

from importlib.resources import files

import pandas as pd

COLUMNS = ["customer_id", "date", "items", "value"]


def load(sample: bool = False) -> pd.DataFrame:
    """Return transactions: customer_id, date, items (CDs), value ($), 69,659 rows.

    `sample` gives the tenth of the customers that the papers use: 6,919 rows, 2,357 customers.
    """
    name = "CDNOW_sample.txt" if sample else "CDNOW_master.txt"
    with (files("lifetimes") / "datasets" / name).open(encoding="utf-8") as file:
        table = pd.read_csv(
            file,
            sep=r"\s+",
            skiprows=0
            if sample
            else 1,  # the sample has no header; its ids come first, twice
            names=["master_id", *COLUMNS] if sample else COLUMNS,
        )
    return table[COLUMNS].assign(date=pd.to_datetime(table["date"], format="%Y%m%d"))
