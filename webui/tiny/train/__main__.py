"""`python -m webui.tiny.train [step …]`: trains, exports, evaluates and draws the samples, or does one of these steps.

Every step starts from fixed seeds and works on one thread. What steps hand to each other lies in `--work`; a denoiser
that was interrupted goes on where it was last saved.
"""

import argparse
import os
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as in webui/tiny/__main__.py

import torch

from webui.tiny.train import checkpoint, classifier, evaluate, flow, sheet, superres
from webui.tiny.train.networks import Shape

ROOT = Path(__file__).parents[3]
DEFAULT_WORK = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "darkroom" / "tiny"


def main() -> None:
    """Parses the command line and runs the steps it names."""
    summary, details = (__doc__ or "").split("\n\n", 1)
    parser = argparse.ArgumentParser(prog="python -m webui.tiny.train", description=summary, epilog=details)
    parser.add_argument("steps", nargs="*", metavar="step", help="decoder denoiser export classifier evaluate sheet")
    parser.add_argument("--work", type=Path, default=DEFAULT_WORK, help="folder for what is not shipped")
    parser.add_argument("--model", type=Path, default=ROOT / "webui/tiny/model/tiny-shapes.safetensors")
    parser.add_argument("--samples", type=Path, default=ROOT / "docs/images/tiny-samples.png")
    parser.add_argument("--decoder-steps", type=int, default=2500)
    parser.add_argument("--denoiser-steps", type=int, default=5600)
    parser.add_argument("--classifier-steps", type=int, default=2500)
    parser.add_argument("--pictures", type=int, default=500, help="drawn for each half of the evaluation")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    work, seed = options.work, options.seed

    def export() -> Iterator[str]:
        denoiser, decoder = (torch.load(work / name) for name in ("denoiser.pt", "decoder.pt"))
        checkpoint.export(denoiser["average"], decoder, Shape(), options.model)
        yield f"{options.model}: {options.model.stat().st_size / 1e6:.1f} MB after {denoiser['step']} steps"

    def samples() -> Iterator[str]:
        sheet.make(options.model, options.samples, seed)
        yield f"{options.samples}: {options.samples.stat().st_size / 1e3:.0f} kB"

    steps: dict[str, Callable[[], Iterator[str]]] = {
        "decoder": lambda: superres.train(work, options.decoder_steps, seed),
        "denoiser": lambda: flow.train(work, options.denoiser_steps, seed),
        "export": export,
        "classifier": lambda: classifier.train(work, options.classifier_steps, seed),
        "evaluate": lambda: evaluate.evaluate(options.model, work, options.pictures, seed),
        "sheet": samples,
    }
    unknown = set(options.steps) - set(steps)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(steps)}")
    for name in options.steps or steps:
        for line in steps[name]():
            print(f"{name}: {line}", flush=True)


if __name__ == "__main__":
    main()
