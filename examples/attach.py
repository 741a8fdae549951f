"""Watch the latents of a training run: one line, and nothing of the training changes.

Run: python examples/attach.py --epochs 3
"""

import argparse

import pytorch_lightning as pl

from lightning_invariant import InvariantCallback
from lightning_invariant.zoo.digits import Digits, DigitsClassifier


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--output", default="runs/attach")
    args = parser.parse_args()

    callback = InvariantCallback(layer="encoder", representation="C4: 16 regular")
    stopping = pl.callbacks.EarlyStopping("invariance/knn", mode="max", patience=5)
    trainer = pl.Trainer(
        max_epochs=args.epochs, callbacks=[callback, stopping], default_root_dir=args.output, accelerator="cpu"
    )
    trainer.fit(DigitsClassifier(), Digits())

    for name in ("invariance/knn_raw", "invariance/knn", "invariance/knn_gap", "invariance/error"):
        print(f"{name:20} {trainer.callback_metrics[name]:.3f}")
    print(f"tensorboard --logdir {args.output}")


if __name__ == "__main__":
    main()
