"""Trains the tiny text-to-image model from nothing but procedural pictures: `python -m webui.tiny.train --help`."""
