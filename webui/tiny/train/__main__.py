"""`python -m webui.tiny.train`: everything, or one step of it, from fixed seeds."""

import argparse
import os
from pathlib import Path

import torch

from webui.tiny.train import flow, superres

DEFAULT_WORK = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "darkroom" / "tiny"


def main() -> None:
    """Parses the command line and runs the steps it names."""
    parser = argparse.ArgumentParser(prog="python -m webui.tiny.train", description=__doc__)
    parser.add_argument("step", choices=["decoder", "denoiser"])
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK)
    parser.add_argument("--denoiser-steps", type=int, default=6000)
    parser.add_argument("--decoder-steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.step == "decoder":
        lines = superres.train(options.work, options.decoder_steps, options.seed)
    else:
        lines = flow.train(options.work, options.denoiser_steps, options.seed)
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
