"""Makes `bench` of this checkout importable, wherever the library that is tested is installed."""

import importlib.util
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parents[2] / "bench"

if "bench" not in sys.modules:
    spec = importlib.util.spec_from_file_location(
        "bench", HOME / "__init__.py", submodule_search_locations=[str(HOME)]
    )
    sys.modules["bench"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["bench"])
