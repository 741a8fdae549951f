"""Watch the latents of a training run: one line, and nothing of the training changes.

Run: python examples/attach.py [folder]
"""

import sys

import pytorch_lightning as pl

from lightning_invariant import InvariantCallback
from lightning_invariant.zoo.digits import Digits, DigitsClassifier


def main(output: str) -> None:
    callback = InvariantCallback(layer="encoder", representation="C4: 16 regular")
    stopping = pl.callbacks.EarlyStopping("invariance/knn", mode="max", patience=5)
    trainer = pl.Trainer(max_epochs=3, callbacks=[callback, stopping], default_root_dir=output, accelerator="cpu")
    trainer.fit(DigitsClassifier(), Digits())

    for name in ("invariance/knn_raw", "invariance/knn", "invariance/knn_gap", "invariance/error"):
        print(f"{name:20} {trainer.callback_metrics[name]:.3f}")
    print(f"tensorboard --logdir {output}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["runs/attach"]))
