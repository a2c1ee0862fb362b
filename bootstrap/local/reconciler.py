"""Claims in, AWS resources out: the loop that Crossplane runs, with what it keeps in memory."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from crossplane.function.proto.v1 import run_function_pb2 as fnv1

from bootstrap.local.admission import Admission, InvalidClaimError
from bootstrap.local.compositions import CompositionError, Compositions
from bootstrap.local.provider import NOT_RUN, Lookup, NotAppliedError, Provider, service

Manifest = dict[str, Any]
Identity = tuple[str, str, str]  # kind, namespace, name

# Far more than any chain of claims and resources that wait for one another.
MOST_ROUNDS = 50


@dataclass
class Composed:
    """A claim with what was made for it, by the composition's names."""

    claim: Manifest
    resources: dict[str, Manifest] = field(default_factory=dict)


class Reconciler:
    """Brings AWS to what the claims ask for, and remembers what it made.

    Args:
        provider_of: Returns the provider, given how references to other managed resources are looked up.
    """

    def __init__(
        self, provider_of: Callable[[Lookup], Provider], admission: Admission, compositions: Compositions
    ) -> None:
        self._admission = admission
        self._compositions = compositions
        self._provider = provider_of(self._at_provider)
        self._composed: dict[Identity, Composed] = {}

    def admit(self, claims: Iterable[Manifest]) -> list[Manifest]:
        """Return those of `claims` that are ours, with their defaults. Changes nothing.

        Raises:
            InvalidClaimError: Everything that is wrong with them.
        """
        admitted, problems = [], []
        for claim in claims:
            if claim["kind"] not in self._admission.kinds:
                continue
            known = self._composed.get(identity(claim))
            try:
                admitted.append(self._admission.admit(claim, known.claim if known else None))
            except InvalidClaimError as error:
                problems.append(str(error))
        if problems:
            raise InvalidClaimError("; ".join(problems))
        return admitted

    def reconcile(self, claims: Iterable[Manifest]) -> None:
        """Make, change and delete until AWS is what `claims` ask for.

        Raises:
            InvalidClaimError: A claim does not fit its definition; nothing was changed.
            CompositionError: A composition refuses a claim; the others are reconciled.
        """
        admitted = self.admit(claims)
        wanted = {identity(claim): claim for claim in admitted}
        for gone in [key for key in self._composed if key not in wanted]:
            self._delete(self._composed.pop(gone).resources)
        for key, claim in wanted.items():
            composed = self._composed.setdefault(key, Composed(claim))
            composed.claim = claim | {"status": composed.claim.get("status", {})}
        # Claims wait for the status of others, and resources for each other, in whatever order: go on while it helps.
        for _ in range(MOST_ROUNDS):
            changed, refusals = self._round()
            if not changed:
                break
        else:
            raise CompositionError(f"the claims still change after {MOST_ROUNDS} rounds")
        if refusals:
            raise CompositionError(
                "; ".join(f"{kind} {ns}/{name}: {why}" for (kind, ns, name), why in refusals.items())
            )

    def _round(self) -> tuple[bool, dict[Identity, str]]:
        """Compose every claim once; return whether anything changed, and which compositions refuse, and why."""
        changed = False
        refusals: dict[Identity, str] = {}
        for key, composed in self._composed.items():
            try:
                changed |= self._step(composed)
            except CompositionError as error:
                refusals[key] = str(error)
        return changed, refusals

    def status(self, kind: str, name: str | None = None) -> Manifest:
        """Return the status of the claim of `kind` called `name`, or of the only one; empty when there is none."""
        found = [
            composed.claim["status"]
            for (its_kind, _, its_name), composed in self._composed.items()
            if its_kind == kind and name in {None, its_name}
        ]
        return found[0] if found else {}

    @property
    def not_run(self) -> list[str]:
        """What the claims ask for that is not made here, in words."""
        asked = {service(each) for composed in self._composed.values() for each in composed.resources.values()}
        return [words for name, words in NOT_RUN.items() if name in asked]

    def config_map(self, name: str) -> dict[str, str] | None:
        """Return the data of the composed ConfigMap `name`, once it is there."""
        found = self._find("ConfigMap", name)
        data: dict[str, str] | None = found["data"] if found else None
        return data

    def _step(self, composed: Composed) -> bool:
        """Compose one claim and make what is new or different; return whether anything was."""
        desired, status = self._compositions.compose(composed.claim, composed.resources, self._fetch)
        kept = {name: item for name, item in composed.resources.items() if name in desired}
        self._delete({name: item for name, item in composed.resources.items() if name not in desired})
        changed = status != composed.claim["status"] or kept != composed.resources
        composed.claim["status"] = status
        composed.resources = kept
        refused = []
        for name, manifest in desired.items():
            if manifest == {key: part for key, part in kept.get(name, {}).items() if key != "status"}:
                continue
            try:
                kept[name] = manifest | {"status": self._make(manifest)}
                changed = True
            except NotAppliedError as error:
                refused.append(str(error))
        if refused and not changed:
            raise CompositionError("; ".join(refused))
        return changed

    def _make(self, manifest: Manifest) -> Manifest:
        if not _is_managed(manifest):
            return {}
        return {"atProvider": self._provider.apply(manifest), "conditions": [{"type": "Ready", "status": "True"}]}

    def _delete(self, resources: dict[str, Manifest]) -> None:
        for manifest in reversed(resources.values()):
            if _is_managed(manifest):
                self._provider.delete(manifest)

    def _fetch(self, selector: fnv1.ResourceSelector) -> list[Manifest]:
        if selector.HasField("match_name"):
            found = self._composed.get((selector.kind, selector.namespace, selector.match_name))
            return [found.claim] if found else []
        labels = dict(selector.match_labels.labels)
        return [
            composed.claim
            for (kind, _, _), composed in self._composed.items()
            if kind == selector.kind and labels.items() <= composed.claim["metadata"].get("labels", {}).items()
        ]

    def _at_provider(self, kind: str, name: str) -> Manifest | None:
        found = self._find(kind, name)
        observed: Manifest | None = found["status"]["atProvider"] if found else None
        return observed

    def _find(self, kind: str, name: str) -> Manifest | None:
        """Return the resource of `kind` called `name` that was made for a claim, or None."""
        for composed in self._composed.values():
            for manifest in composed.resources.values():
                if (manifest["kind"], manifest["metadata"]["name"]) == (kind, name):
                    return manifest
        return None


def identity(manifest: Manifest) -> Identity:
    """Return what tells `manifest` from every other."""
    metadata = manifest["metadata"]
    return manifest["kind"], metadata.get("namespace", "default"), metadata["name"]


def _is_managed(manifest: Manifest) -> bool:
    group, _, _ = str(manifest["apiVersion"]).partition("/")
    return group.endswith(".aws.m.upbound.io")
