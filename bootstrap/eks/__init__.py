"""A cluster on AWS: made, handed over to git, and taken away again."""
