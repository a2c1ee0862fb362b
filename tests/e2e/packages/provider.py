"""A provider of managed resources of one service of AWS, on the emulator: the controller around `Provider`.

A pod of it stands in for one of the AWS family's, whose source no module has in whole. Crossplane installs it as a
package, gives it its service account, and activates its kinds.
"""

import logging
import ssl
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import boto3
from kubernetes import client, config, watch
from kubernetes.client.exceptions import ApiException

from bootstrap.local.provider import NotAppliedError, Provider

Manifest = dict[str, Any]

FINALIZER = "finalizer.managedresource.crossplane.io"
EXTERNAL_NAME = "crossplane.io/external-name"
# What nobody tells of is looked at this often: AWS may have been changed by hand.
RESYNC_SECONDS = 15
AGAIN_SECONDS = 1

VERSION = "v1beta1"  # of all of the family's kinds that are used
NOT_FOUND = 404

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kind:
    """A kind of managed resources, where the API server has it."""

    name: str
    plural: str


class Controller:
    """Keeps the managed resources of one group true.

    Args:
        group: Their API group, such as `sqs.aws.m.upbound.io`.
        api: The API server's `CustomObjectsApi`; what it returns is as untyped as manifests are.
    """

    def __init__(self, group: str, api: Any) -> None:
        self._group = group
        self._api = api
        self._kinds: dict[str, Kind] = {}
        self._provider = Provider(boto3.Session(), None, self._lookup)

    def run(self) -> None:
        """Reconcile each kind as soon as it is active. Does not return."""
        while True:
            for kind in self._active():
                if kind.name not in self._kinds:
                    self._kinds[kind.name] = kind
                    threading.Thread(target=self._follow, args=(kind,), daemon=True).start()
                    log.info("reconciles %s", kind.name)
            time.sleep(AGAIN_SECONDS)

    def _active(self) -> list[Kind]:
        try:
            resources = self._api.get_api_resources(self._group, VERSION).resources
        except ApiException:  # none of its kinds is
            return []
        return [Kind(each.kind, each.name) for each in resources if "/" not in each.name]

    def _follow(self, kind: Kind) -> None:
        while True:
            again = False
            try:
                where = (self._group, VERSION, kind.plural)
                stream: Any = watch.Watch().stream  # type: ignore[no-untyped-call]
                events = stream(self._api.list_cluster_custom_object, *where, timeout_seconds=RESYNC_SECONDS)
                for event in events:
                    if event["type"] != "DELETED" and not self._reconcile(kind, event["object"]):
                        again = True
                        break
            except Exception:  # a provider goes on, whatever one resource asks for
                log.exception("reconciling %s", kind.name)
                again = True
            if again:
                time.sleep(AGAIN_SECONDS)

    def _reconcile(self, kind: Kind, manifest: Manifest) -> bool:
        """Return whether the resource is what it should be, and need not be looked at again soon."""
        metadata = manifest["metadata"]
        where = (self._group, VERSION, metadata["namespace"], kind.plural, metadata["name"])
        try:
            if metadata.get("deletionTimestamp"):
                if manifest.get("status", {}).get("atProvider"):
                    self._provider.delete(manifest)
                self._patch(where, {"metadata": {"finalizers": None}})
                log.info("deleted %s %s", kind.name, metadata["name"])
                return True
            annotations = {EXTERNAL_NAME: metadata["name"]} | metadata.get("annotations", {})
            if FINALIZER not in metadata.get("finalizers", []) or annotations != metadata.get("annotations"):
                # Its own change is an event, upon which it goes on.
                self._patch(where, {"metadata": {"finalizers": [FINALIZER], "annotations": annotations}})
                return True
            observed = self._provider.apply(manifest)
            self._report(where, manifest, observed, "")
        except NotAppliedError as error:
            self._report(where, manifest, None, str(error))
            return False
        except ApiException as error:
            # Changed or gone meanwhile.
            log.info("%s %s: %s", kind.name, metadata["name"], error.reason)
            return bool(error.status == NOT_FOUND)
        return True

    def _report(self, where: tuple[str, ...], manifest: Manifest, observed: Manifest | None, problem: str) -> None:
        status = manifest.get("status", {})
        before = {condition["type"]: condition for condition in status.get("conditions", [])}
        conditions = [
            _condition(before, "Synced", not problem, "ReconcileError" if problem else "ReconcileSuccess", problem),
            _condition(before, "Ready", observed is not None, "Available" if observed is not None else "Creating", ""),
        ]
        after = {"atProvider": status.get("atProvider", {}) if observed is None else observed, "conditions": conditions}
        if after != status:
            self._api.patch_namespaced_custom_object_status(*where, {"status": after})
            log.info("%s %s: %s", manifest["kind"], manifest["metadata"]["name"], problem or "ready")

    def _patch(self, where: tuple[str, ...], change: Manifest) -> None:
        self._api.patch_namespaced_custom_object(*where, change)

    def _lookup(self, kind: str, name: str) -> Manifest | None:
        if not (known := self._kinds.get(kind)):
            return None
        for item in self._api.list_cluster_custom_object(self._group, VERSION, known.plural)["items"]:
            if item["metadata"]["name"] == name:
                observed: Manifest = item.get("status", {}).get("atProvider", {})
                return observed or None
        return None


def _condition(before: dict[str, Manifest], kind: str, holds: bool, reason: str, message: str) -> Manifest:
    made = {"type": kind, "status": str(holds), "reason": reason} | ({"message": message} if message else {})
    last = before.get(kind, {})
    same = last.get("status") == made["status"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return made | {"lastTransitionTime": last["lastTransitionTime"] if same else now}


def main(name: str) -> None:
    """Run the provider that the Crossplane package `name` is of. Does not return."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    config.load_incluster_config()  # type: ignore[no-untyped-call]
    api: Any = client.CustomObjectsApi()
    # Of the cluster's authority less is asked than Python asks by itself: see agent/pod.py.
    context = ssl.create_default_context(cafile=api.api_client.configuration.ssl_ca_cert)
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    api.api_client.rest_client.pool_manager.connection_pool_kw["ssl_context"] = context
    service = name.removeprefix("provider-aws-")
    Controller(f"{service}.aws.m.upbound.io", api).run()
