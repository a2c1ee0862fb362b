"""What the one image runs: what its pod is called after, since Crossplane calls a pod like the package it is of."""

import re
import socket
import threading

from tests.e2e.packages import function_python, provider

FAMILY = "provider-family-aws"

NAMES = rf"^crossplane-contrib-(function-python|{FAMILY}|provider-aws-[a-z0-9]+)-"

(package,) = re.findall(NAMES, socket.gethostname())
if package == "function-python":
    function_python.main()
elif package == FAMILY:
    threading.Event().wait()  # its kinds need no controller
else:
    provider.main(package)
