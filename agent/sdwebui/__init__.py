"""The adapter for Stable Diffusion Web UI (A1111) and every server with its API, such as Forge and SD.Next."""
