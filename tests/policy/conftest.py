"""Everything rendered, made once for all policies."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.policy.rendered import Rendered, charted, claims, committed, composed


@pytest.fixture(scope="session")
def everything(tool: Callable[[str], Path]) -> list[Rendered]:
    """All that goes to a cluster, from whatever source: git, the chart, the compositions."""
    found = committed()
    return [*found, *charted(tool("helm"), found), *composed(claims(found))]
