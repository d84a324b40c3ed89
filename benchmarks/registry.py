"""What the registry takes with 10,000, 100,000 and a million adapters.

A registry is filled with the rows and files that publishing writes, many at once; then what people
and programs ask of it is timed, call by call, through the public functions.

    python benchmarks/registry.py
    python benchmarks/registry.py --size 10000 --postgresql postgresql://localhost/empty
    python benchmarks/registry.py --home path/to/registry/filled/before
"""

import os
import sys
from pathlib import Path

# In a Python of its own that does not look for modules here, where registry is this file.
path = os.pathsep.join(filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))))
os.execve(
    sys.executable,
    [sys.executable, "-P", "-m", "benchmarks.registries", *sys.argv[1:]],
    os.environ | {"PYTHONPATH": path},
)
