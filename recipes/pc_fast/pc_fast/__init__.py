"""The PC algorithm in NumPy, with the graphs of causal-learn's pc().

Graphs are boolean arrays, shape (p, p): `graph[i, j] and not graph[j, i]` is the edge
i -> j, `graph[i, j] and graph[j, i]` the undirected edge i - j. Columns are numbered
from 0.

The name of this package is unique on purpose: all models of a process share
`sys.modules`, and of two packages with the same name in their `code_paths` the first
loaded would serve both.
"""
