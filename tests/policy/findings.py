"""What rules and scanners find, and what of that is excepted, with a reason, in exceptions.yaml."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

EXCEPTIONS = Path(__file__).with_name("exceptions.yaml")


@dataclass(frozen=True, order=True)
class Finding:
    """Something that is not as a check wants it.

    Attributes:
        by: Who says so: `rules`, `iam`, or the scanner.
        check: Its name for what it looks at.
        subject: The kind of the manifest, or the IAM action.
        where: The manifest, and where it comes from.
        text: What is wrong.
    """

    by: str
    check: str
    subject: str
    where: str
    text: str = ""


@dataclass(frozen=True)
class Exemption:
    """An entry of exceptions.yaml: the attributes of a Finding that it is about, and why those are right as they are.

    Attributes:
        where, text: Parts of the Finding's; empty for whatever it has.
    """

    by: str
    check: str
    subject: str
    reason: str
    where: str = ""
    text: str = ""

    def covers(self, finding: Finding) -> bool:
        """Return whether `finding` is meant."""
        same = (self.by, self.check, self.subject) == (finding.by, finding.check, finding.subject)
        return same and self.where in finding.where and self.text in finding.text


def exemptions(by: str) -> list[Exemption]:
    """Return the exceptions from what `by` finds: one for each subject that an entry lists."""
    return [
        Exemption(**entry | {"subject": subject})
        for entry in yaml.safe_load(EXCEPTIONS.read_text())
        if entry["by"] == by
        for subject in (entry["subject"] if isinstance(entry["subject"], list) else [entry["subject"]])
    ]


def judge(findings: Iterable[Finding], excepted: list[Exemption]) -> str:
    """Return what is to be mended, a line each: findings without an exception, and exceptions without a finding."""
    found = sorted(set(findings))
    left = [finding for finding in found if not any(exemption.covers(finding) for exemption in excepted)]
    stale = [exemption for exemption in excepted if not any(exemption.covers(finding) for finding in found)]
    lines = [f"{item.check}: {item.subject}: {item.where}: {item.text}" for item in left] + [
        f"exceptions.yaml: nothing is found any more for {item.check} on {item.subject} {item.where}: remove the entry"
        for item in stale
    ]
    return "\n".join(lines)
