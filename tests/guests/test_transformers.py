"""A ViT of transformers, called as forward(**batch), and a Set Transformer with padding."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

pytest.importorskip("transformers", reason="needs transformers (make test-guests)")

import transformers

from lightning_invariant import BatchReader, InvariantEncoder
from lightning_invariant.errors import LatentError
from tests.guests.runs import Module, fitted, number, said, wrong


def images(count, seed):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(3, (count,), generator=generator)
    x = 0.2 * torch.randn(count, 1, 8, 8, generator=generator)
    for i, label in enumerate(y):
        x[i, 0, 1 : 3 + 2 * int(label), 2] += 1
    return [{"pixel_values": image, "labels": label} for image, label in zip(x, y, strict=True)]


def vit():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.ViTConfig(image_size=8, patch_size=2, num_channels=1, num_labels=3, **sizes)
    return transformers.ViTForImageClassification(config)


class Classifier(Module):
    def loss(self, batch):
        return self.net(**batch).loss


def loaders():
    return DataLoader(images(64, 0), 32, shuffle=True), DataLoader(images(140, 1), 32)


class TestViT:
    def test_what_turning_images_does_is_measured(self):
        callback = fitted(
            Classifier(vit()), loaders(), "net.vit", "C4: 16 trivial", pick=lambda out: out.last_hidden_state[:, 0]
        )
        assert "C4 rotates pixel_values (image); leaves labels" in said(callback)
        assert "labels: batch['labels'], 3 classes" in said(callback)
        assert number(callback, "queries") == 140
        assert number(callback, "equivariance_error") > 0.05  # nothing makes a ViT invariant
        assert number(callback, "error") > 0.05

    def test_flips_by_name_on_pooled_tokens(self):
        callback = fitted(Classifier(vit()), loaders(), "net.vit.layernorm", "HFlip: 16 trivial", pool="mean")
        assert number(callback, "queries") == 140
        assert number(callback, "error") > 0.05

    def test_the_error_names_the_outputs(self):
        with pytest.raises(LatentError, match=r"'last_hidden_state' \(32, 17, 16\).*pick="):
            fitted(Classifier(vit()), loaders(), "net.vit", "C4: 16 trivial")

    def test_an_invariant_wrapper_is_seen_as_one(self):
        class Mean(nn.Module):
            """The orbit mean of class tokens."""

            def __init__(self):
                super().__init__()
                self.vit = vit()

            def forward(self, pixel_values):
                turned = [pixel_values.rot90(k, (2, 3)) for k in range(4)]
                return sum(self.vit.vit(x).last_hidden_state[:, 0] for x in turned) / 4

        class Averaged(Module):
            def loss(self, batch):
                return self.net(batch["pixel_values"]).pow(2).mean()

        callback = fitted(Averaged(Mean()), loaders(), "net", "C4: 16 trivial")
        assert number(callback, "equivariance_error") < 1e-4
        assert wrong(callback) == []


class SetEncoder(nn.Module):
    """Attention among the points that are not padding."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Linear(2, 8)
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)

    def forward(self, x, key_padding_mask):
        return self.attention(self.embed(x), src_key_padding_mask=key_padding_mask)


class Sets(Module):
    def loss(self, batch):
        return self.net(batch["x"], batch["pad"]).masked_fill(batch["pad"][..., None], 0).mean()


def sets(most):
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(2, most + 1, (236,), generator=generator)
    x, y = torch.randn(236, 8, 2, generator=generator), torch.randint(2, (236,), generator=generator)
    pad = torch.arange(8) >= sizes[:, None]
    rows = [{"x": a, "pad": p, "y": t} for a, p, t in zip(x, pad, y, strict=True)]
    return DataLoader(rows[:96], 32), DataLoader(rows[96:], 32)


class TestSetTransformer:
    @pytest.mark.parametrize("most", [8, 7])  # with and without sets that fill all places
    def test_padding_is_reordered_and_left_out(self, tmp_path, most):
        trained = Sets(SetEncoder())
        reader = BatchReader(mask=lambda batch: ~batch["pad"])
        callback = fitted(trained, sets(most), "net", "S8: 8 points x 8", batch=reader, export=tmp_path / "sets")
        assert number(callback, "equivariance_error") < 1e-4
        assert number(callback, "error") < 1e-4
        assert wrong(callback) == []
        batch = next(iter(sets(most)[1]))
        encoder, exists = InvariantEncoder.from_pretrained(tmp_path / "sets"), ~batch["pad"]
        trained.eval()
        with torch.no_grad():
            z = trained.net(batch["x"], batch["pad"])
            found = encoder.latent(batch["x"], mask=exists).reshape(z.shape)
        assert torch.allclose(found[exists], z[exists], atol=1e-5)

    def test_without_a_mask_the_step_of_the_user_is_made_again_all_the_same(self):
        callback = fitted(Sets(SetEncoder()), sets(8), "net", "S8: 8 points x 8")
        assert "permutes x, key_padding_mask" in said(callback)
        assert number(callback, "equivariance_error") < 1e-4
