"""Tiny made-up molecules, in the files and shapes of the real ones."""

from pathlib import Path

import numpy as np
import torch

SMILES = (
    "C", "N", "O", "CC", "CO", "CN", "C=O", "C#N", "CCO", "CCN", "CC=O", "CC#N", "COC", "C1CC1", "C1CO1", "CCCO",
    "CC(C)O", "CC(=O)N", "NCC#N", "c1ccoc1", "c1cc[nH]c1", "OCC(O)C", "C1CC1C#N", "CC(=O)C=O", "CCOC=O", "NC(=O)CO",
    "C1CCOC1", "CC1CC1O", "C=CC=O", "CC#CC", "FC(F)C", "CC(F)O",
)  # fmt: skip


def write_qm7(folder: Path, count: int = 24, seed: int = 0) -> Path:
    """Molecules of 3 to 8 atoms with an atomisation energy that depends on charges and distances."""
    rng = np.random.default_rng(seed)
    z, r = np.zeros((count, 23), dtype=np.uint8), np.zeros((count, 23, 3), dtype=np.float32)
    for row in range(count):
        n = rng.integers(3, 9)
        z[row, :n] = rng.choice([1, 6, 7, 8, 16], n)
        r[row, :n] = 1.5 * rng.standard_normal((n, 3))
    energy = -100.0 * (z > 0).sum(axis=1) - np.linalg.norm(r, axis=2).sum(axis=1)
    np.savez(folder / "qm7.npz", Z=z, R=r, E_col1=energy)
    return folder


def write_qm9(folder: Path) -> Path:
    """A table of SMILES whose properties are made up."""
    rows = [f"{text},{5 + 0.1 * i},{16 + i},{0.01 * i}" for i, text in enumerate(SMILES)]
    (folder / "qm9.csv").write_text("\n".join(["SMILES,gap,mol_weight,logp", *rows]) + "\n")
    return folder


def atoms(count: int = 6, places: int = 9, seed: int = 0) -> torch.Tensor:
    """Rows of charge and position; the last two places are empty."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.tensor([1.0, 6.0, 7.0, 8.0, 16.0])[torch.randint(5, (count, places), generator=generator)]
    x = torch.cat([kinds[..., None], 1.5 * torch.randn(count, places, 3, generator=generator)], dim=-1)
    x[:, -2:] = 0
    return x
