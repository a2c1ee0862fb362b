"""A stack of CloudFormation: there as its template says, or gone."""

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from bootstrap.eks.step import StepError

Manifest = dict[str, Any]

# By which it is told whether a stack is of this template and these parameters.
DIGEST_TAG = "darkroom.dev/digest"
WELL = ("CREATE_COMPLETE", "UPDATE_COMPLETE")
# Nothing can be made of a stack in these states but to delete it.
BROKEN = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED")


@dataclass(frozen=True)
class Stack:
    """A stack.

    Attributes:
        cloudformation: A boto3 client.
        poll_seconds: How long to wait before looking again. CloudFormation itself sees to it that everything ends.
    """

    cloudformation: Any
    name: str
    poll_seconds: float

    def look(self) -> Manifest | None:
        """Return what CloudFormation says of it, or None if it is not there."""
        try:
            found: Manifest = self.cloudformation.describe_stacks(StackName=self.name)["Stacks"][0]
        except ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
        return None if found["StackStatus"] == "DELETE_COMPLETE" else found

    def settled(self) -> Manifest | None:
        """Wait until nothing changes in it any more, and return what it is."""
        while (found := self.look()) and found["StackStatus"].endswith("_IN_PROGRESS"):
            time.sleep(self.poll_seconds)
        return found

    def is_made_of(self, template: str, parameters: dict[str, str]) -> bool:
        """Return whether it is what it should be."""
        found = self.look() or {"StackStatus": "", "Tags": []}
        tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}
        return found["StackStatus"] in WELL and tags.get(DIGEST_TAG) == _digest(template, parameters)

    def make(self, template: str, parameters: dict[str, str], tags: dict[str, str]) -> None:
        """Make it what it should be, whatever is there.

        Raises:
            StepError: CloudFormation could not.
        """
        found = self.settled()
        if found and found["StackStatus"] in BROKEN:
            self.delete()
            found = None
        all_tags = {**tags, DIGEST_TAG: _digest(template, parameters)}
        change = self.cloudformation.update_stack if found else self.cloudformation.create_stack
        change(
            StackName=self.name,
            TemplateBody=template,
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Tags=[{"Key": key, "Value": value} for key, value in all_tags.items()],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        ended = (self.settled() or {}).get("StackStatus")
        if ended not in WELL:
            raise StepError(f"the stack {self.name} ended as {ended}: {self._why()}")

    def delete(self) -> None:
        """Delete it, and wait until it is gone.

        Raises:
            StepError: CloudFormation could not.
        """
        if self.settled():
            self.cloudformation.delete_stack(StackName=self.name)
        if left := self.settled():
            raise StepError(f"the stack {self.name} is {left['StackStatus']} and not gone: {self._why()}")

    def _why(self) -> str:
        events = self.cloudformation.describe_stack_events(StackName=self.name)["StackEvents"]
        # The newest is first, and the first failure is the reason of the others.
        failed = [item for item in events if item["ResourceStatus"].endswith("_FAILED")]
        first = failed[-1] if failed else {}
        return f"{first.get('LogicalResourceId', self.name)}: {first.get('ResourceStatusReason', 'no reason is given')}"


def _digest(template: str, parameters: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps([template, parameters], sort_keys=True).encode()).hexdigest()[:32]
