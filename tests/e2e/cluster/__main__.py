"""`python -m tests.e2e.cluster up|down|status`: a cluster to look around in with kubectl. Needs root."""

import argparse
import sys
import time

from tests.e2e.cluster import machine, platform, store
from tests.e2e.cluster.places import KUBECONFIG, LOGS
from tools.go import GoError
from tools.install import install


def main() -> int:
    """Do what is asked, and return 1 when it cannot be done or, for `status`, when the cluster is down."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.cluster", description=__doc__)
    parser.add_argument("action", choices=("up", "down", "status"))
    action = parser.parse_args().action
    try:
        if action == "up":
            began = time.monotonic()
            machine.up(install("k8s"), install("crane"))
            platform.install_dns()
            print(f"up after {time.monotonic() - began:.0f} s; logs are in {LOGS}")
            print(f"export KUBECONFIG={KUBECONFIG}")
        elif action == "down":
            machine.down()
        elif machine.process() is None:
            print("down")
            return 1
        else:
            ready = machine.api_server_is_ready()
            print(f"up, and its API server {'answers' if ready else f'does not answer: see {LOGS}'}")
            return 0 if ready else 1
    except (machine.ClusterError, platform.PlatformError, store.ImageError, GoError) as error:
        print(error, file=sys.stderr)
        return 1
    except BaseException:
        if action == "up":
            machine.down()
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
