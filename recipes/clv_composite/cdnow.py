"""CDNOW: the public purchase history on which customer-base models are compared.

It holds the orders, up to June 1998, of the 23,570 customers of an online music shop
who first ordered in January to March 1997. Its source is Fader and Hardie,
"Forecasting Repeat Sales at CDNOW" (2001).

The files come with the package `lifetimes`. They are read as files, because importing
`lifetimes.datasets` needs `pkg_resources`, which setuptools no longer has.
"""

from importlib.resources import files

import pandas as pd

COLUMNS = ["customer_id", "date", "items", "value"]


def load() -> pd.DataFrame:
    """Return the 69,659 orders: customer_id, date, items (CDs), value (dollars)."""
    return read("CDNOW_master.txt", COLUMNS, header_lines=1)


def load_sample() -> pd.DataFrame:
    """Return the tenth of the customers that the papers use: 6,919 orders."""
    return read("CDNOW_sample.txt", ["master_id", *COLUMNS], header_lines=0)


def read(name: str, columns: list[str], header_lines: int) -> pd.DataFrame:
    path = files("lifetimes") / "datasets" / name
    with path.open(encoding="utf-8") as file:
        table = pd.read_csv(file, sep=r"\s+", skiprows=header_lines, names=columns)
    table["date"] = pd.to_datetime(table["date"], format="%Y%m%d")
    return table[COLUMNS]
