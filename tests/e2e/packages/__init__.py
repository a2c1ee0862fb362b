"""What runs in the cluster in the place of packages that no module has the source of: providers, function-python."""
