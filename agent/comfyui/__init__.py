"""The adapter for ComfyUI: workflows in the format of its API, outputs of any kind."""
