from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runtimes.chart import Chart


@pytest.fixture(scope="session")
def chart(tool: Callable[[str], Path]) -> Chart:
    """The chart of a runtime, rendered by the real Helm."""
    return Chart(tool("helm"))
