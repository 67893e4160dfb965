"""The limits the package is built within, and that `tests.house` finds what exceeds them."""

from pathlib import Path

import pytest

import masa_cli
from tests.house import (
    AT_IMPORT,
    FOR_TYPES,
    MOST_LINES,
    WHEN_CALLED,
    called_modules,
    circles,
    import_graph,
    imports,
    lines_of,
    lonely,
    modules,
    room_graph,
)

ROOT = Path(masa_cli.__file__).parent
