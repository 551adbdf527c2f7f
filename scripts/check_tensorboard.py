"""Opens a run's TensorBoard events as TensorBoard does, and lists every tag, pictures too, with its steps.

    python scripts/check_tensorboard.py RUN_DIR [--json]

Exit 1 if there is nothing to read, or if a tag has a step twice or out of order, which a resumed run must not show.
Needs tensorboard 2.x from PyPI; for development only. --json prints {tag: [[step, value], ..]} instead.
"""

import argparse
import json
import pathlib
import sys

from tensorboard.backend.event_processing import event_accumulator


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=pathlib.Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    folder = arguments.run_dir / "tb"
    if not folder.is_dir():
        sys.exit(f"error: expected a folder `{folder}`, found none")
    # 0: keep every event instead of a sample.
    keep_all = {event_accumulator.SCALARS: 0, event_accumulator.IMAGES: 0}
    accumulator = event_accumulator.EventAccumulator(str(folder), size_guidance=keep_all)
    accumulator.Reload()
    scalars = {
        tag: [[event.step, event.value] for event in accumulator.Scalars(tag)]
        for tag in sorted(accumulator.Tags()["scalars"])
    }
    if not scalars:
        sys.exit(f"error: no scalars in `{folder}`")

    if arguments.json:
        print(json.dumps(scalars))
    wrong = 0
    pictures = {tag: accumulator.Images(tag) for tag in accumulator.Tags()["images"]}
    found = {tag: ([step for step, _ in values], f"last value {values[-1][1]:g}") for tag, values in scalars.items()}
    for tag, images in pictures.items():
        found[tag] = ([image.step for image in images], f"{images[-1].width}x{images[-1].height} pixels")
    for tag, (steps, last) in found.items():
        if not arguments.json:
            print(f"{tag:<28} {len(steps):>6} steps  {steps[0]} .. {steps[-1]}  {last}")
        for before, after in zip(steps, steps[1:]):
            if after <= before:
                print(f"error: `{tag}`: expected a step after {before}, got {after}", file=sys.stderr)
                wrong += 1
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
