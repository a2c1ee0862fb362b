"""A Kubernetes cluster of one node on this machine, made of the real components, in namespaces of its own."""
