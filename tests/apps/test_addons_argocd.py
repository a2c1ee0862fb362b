"""Argo CD's health checks, run as Argo CD does: a script in Lua, which finds the object under the name `obj`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa import LuaRuntime

ROOT = Path(__file__).parents[2]
CM = yaml.safe_load((ROOT / "apps" / "argocd" / "values.yaml").read_text())["configs"]["cm"]
CUSTOM = yaml.safe_load(CM["resource.customizations"])

Manifest = dict[str, Any]
Health = Callable[[Manifest], tuple[str, str | None]]


def health(script: str) -> Health:
    def judge(manifest: Manifest) -> tuple[str, str | None]:
        lua = LuaRuntime()
        lua.globals().obj = lua.table_from(manifest, recursive=True)
        found = lua.execute(script)
        return found.status, found.message

    return judge


def of(**conditions: tuple[str, str]) -> Manifest:
    listed = [{"type": kind, "status": status, "message": text} for kind, (status, text) in conditions.items()]
    return {"status": {"conditions": listed}}


@pytest.fixture(params=["darkroom.dev/*", "*.aws.m.upbound.io/*"])
def made(request: pytest.FixtureRequest) -> Health:
    return health(CUSTOM[request.param]["health.lua"])


def test_what_is_made_and_as_asked_for_is_healthy(made: Health) -> None:
    assert made(of(Synced=("True", ""), Ready=("True", "Available.")))[0] == "Healthy"


@pytest.mark.parametrize("manifest", [{}, {"status": {}}, {"status": {"conditions": []}}, of(Ready=("True", ""))])
def test_what_nobody_has_looked_at_yet_is_in_progress(made: Health, manifest: Manifest) -> None:
    assert made(manifest)[0] == "Progressing"


def test_what_is_waited_for_is_told(made: Health) -> None:
    waiting = of(Synced=("True", ""), Ready=("False", "waits for the queue"))
    assert made(waiting) == ("Progressing", "waits for the queue")


def test_what_aws_refuses_is_degraded_with_what_it_says(made: Health) -> None:
    refused = of(Ready=("True", ""), Synced=("False", "AccessDenied: not allowed"))
    assert made(refused) == ("Degraded", "AccessDenied: not allowed")


def test_what_has_no_state_holds_nothing_up() -> None:
    stateless = {"aws.m.upbound.io/ClusterProviderConfig", "pkg.crossplane.io/DeploymentRuntimeConfig"}
    assert {kind for kind in CUSTOM if not kind.endswith("*")} == stateless
    assert {health(CUSTOM[kind]["health.lua"])({})[0] for kind in stateless} == {"Healthy"}


@pytest.mark.parametrize("status", ["Healthy", "Degraded", "Missing"])
def test_an_application_is_as_healthy_as_it_says_so_that_waves_wait_for_it(status: str) -> None:
    judge = health(CM["resource.customizations.health.argoproj.io_Application"])
    said = {"health": {"status": status, "message": "why"}, "sync": {"status": "Synced"}}
    assert judge({"status": said}) == (status, "why")
    assert judge({"status": {}})[0] == judge({})[0] == "Progressing"


def test_an_application_that_was_never_synced_in_whole_is_in_progress() -> None:
    judge = health(CM["resource.customizations.health.argoproj.io_Application"])
    half = {"health": {"status": "Healthy"}, "sync": {"status": "OutOfSync"}}
    assert judge({"status": half | {"operationState": {"phase": "Running"}}}) == ("Progressing", "is not synced yet")
    assert judge({"status": half | {"operationState": {"phase": "Succeeded"}}})[0] == "Healthy", "out of sync later"


def test_an_application_whose_health_is_ignored_holds_up_no_wave() -> None:
    judge = health(CM["resource.customizations.health.argoproj.io_Application"])
    annotations = {"argocd.argoproj.io/ignore-healthcheck": "true"}
    ill = {"metadata": {"annotations": annotations}, "status": {"health": {"status": "Degraded"}}}
    assert judge(ill)[0] == "Healthy"


def test_what_crossplane_composes_is_not_taken_for_the_applications_own() -> None:
    assert CM["application.resourceTrackingMethod"] == "annotation"
    excluded = {kind for entry in yaml.safe_load(CM["resource.exclusions"]) for kind in entry["kinds"]}
    assert "ProviderConfigUsage" in excluded
