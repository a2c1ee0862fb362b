import gc
import sys
import time
from pathlib import Path

import pytest

from generator import tree
from generator.build import build
from generator.load import load
from tests.generator.cases import CLUSTER

RUNTIME = """
- name: runtime-{index}
  namespace: team-{team}
  modelFilename: model-{index}.safetensors
  extraValues:
    karpenter:
      provisioner: {{instanceType: [g5.xlarge, g6.xlarge], capacityType: {{onDemand: true, spot: true}}}}
    runtime:
      scaling: {{queueLength: 5, maxReplicaCount: 8, cooldownPeriod: 300}}
      inferenceApi: {{image: {{repository: registry.example.com/sdwebui, tag: 0.1.0}}}}
"""


def seconds(folder: Path, runtimes: int) -> dict[str, float]:
    """Return how long each step takes for so many runtimes."""
    text = "modelsRuntime:" + "".join(RUNTIME.format(index=i, team=i % 50) for i in range(runtimes)) + CLUSTER
    marks = [time.perf_counter()]
    config = load(text, "config.yaml").config
    marks.append(time.perf_counter())
    files = build(config, "clusters/test", "config.yaml")
    marks.append(time.perf_counter())
    tree.apply(folder, tree.changes(folder, files, []))
    marks.append(time.perf_counter())
    assert tree.changes(folder, files, tree.rendered_files(folder / "clusters" / "test")) == []
    marks.append(time.perf_counter())
    steps = {
        name: after - before
        for name, before, after in zip(("load", "build", "write", "check"), marks, marks[1:], strict=False)
    }
    return {**steps, "all": marks[-1] - marks[0]}


@pytest.mark.bench
def test_a_thousand_runtimes_render_in_seconds_and_cost_grows_linearly(tmp_path: Path) -> None:
    gc.disable()  # as render.py does
    seconds(tmp_path / "warm-up", 10)
    taken = {count: seconds(tmp_path / str(count), count) for count in (10, 100, 1000)}
    gc.enable()
    sys.stdout.write("\nruntimes    load   build   write   check     all (seconds)\n")
    for count, steps in taken.items():
        sys.stdout.write(f"{count:8}" + "".join(f"{value:8.3f}" for value in steps.values()) + "\n")
    assert taken[1000]["all"] < 10
    # Ten times the work: 100 times as long would be quadratic, and machines are not quiet.
    assert taken[1000]["all"] < 40 * taken[100]["all"]
