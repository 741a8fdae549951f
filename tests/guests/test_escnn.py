"""Steerable networks of escnn under the callback, by one line, and exported."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

pytest.importorskip("escnn", reason="needs escnn (make test-guests)")
pytest.importorskip("sklearn", reason="needs scikit-learn")

from escnn import gspaces
from escnn import nn as enn

from lightning_invariant import Export, InvariantCallback, InvariantEncoder, Representation
from lightning_invariant.artifact.graph import GraphModule, export_graph
from lightning_invariant.callback.capture.latent import Symmetry
from lightning_invariant.callback.export.checkpoints import put_state, tensors_of
from lightning_invariant.errors import GraphError, GroupError, LatentError, LayerError
from lightning_invariant.guests import escnn_modules
from tests.guests.escnn_networks import Encoder, Steerable, Wrapped, fitted

C, D = gspaces.rot2dOnR2, gspaces.flipRot2dOnR2
SO2, O2 = C(-1, maximum_frequency=3), D(-1, maximum_frequency=3)
EXACT = {
    "C4: 4 regular": lambda: (C(4), 4 * [C(4).regular_repr]),
    "C4: 4 regular + 2 trivial": lambda: (C(4), 4 * [C(4).regular_repr] + 2 * [C(4).trivial_repr]),
    "C4: 4 trivial + 4x1 + 4x2": lambda: (C(4), [C(4).irrep(k) for k in (0, 1, 2) for _ in range(4)]),
    "C4: 8 regular/C2": lambda: (C(4), 8 * [C(4).quotient_repr(2)]),
    "D4(axis=90): 4 regular": lambda: (D(4), 4 * [D(4).regular_repr]),
    "D4(axis=90): 2 trivial + 2 det + 4x1 + 2x2o": lambda: (
        D(4),
        2 * [D(4).irrep(0, 0)] + 2 * [D(4).irrep(1, 0)] + 4 * [D(4).irrep(1, 1)] + 2 * [D(4).irrep(1, 2)],
    ),
    "D4(axis=90): 3 regular/D1(axis=135) + 2 regular/C2": lambda: (
        D(4),
        3 * [D(4).quotient_repr((1, 1))] + 2 * [D(4).quotient_repr((None, 2))],
    ),
    "HFlip: 6 regular": lambda: (gspaces.flip2dOnR2(), 6 * [gspaces.flip2dOnR2().regular_repr]),
}
SMOOTH = {
    "C8: 4 regular": (lambda: (C(8), 4 * [C(8).regular_repr]), "C4"),
    "D3(axis=90): 4 regular": (lambda: (D(3), 4 * [D(3).regular_repr]), "D1(axis=90)"),
    "SO2: 4 (1x0 + 1x1 + 1x2)": (lambda: (SO2, 4 * [SO2.fibergroup.bl_regular_representation(2)]), ""),
    "O2(axis=90): 4x0 + 2 det + 4x1 + 4x2": (
        lambda: (O2, 4 * [O2.irrep(0, 0)] + 2 * [O2.irrep(1, 0)] + 4 * [O2.irrep(1, 1)] + 4 * [O2.irrep(1, 2)]),
        "",
    ),
}


def run(build, size, **settings):
    torch.manual_seed(0)
    module = Steerable(*build())
    callback = InvariantCallback("body", max_overhead=None, figures=None, **settings)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        x = fitted(module, callback, size)
    said = [str(w.message) for w in caught if "lightning-invariant" in str(w.message)]
    return module.eval(), callback, x, said


@torch.no_grad()
def difference(module, callback, x, folder):
    live = callback.projection(module.latent(x))
    return float((InvariantEncoder.from_pretrained(folder)(x) - live).abs().max() / live.abs().max())


@pytest.mark.parametrize("size", [9, 11], ids=["1x1", "3x3"])
@pytest.mark.parametrize("text", EXACT)
def test_one_line_is_enough(text, size, tmp_path):
    module, callback, x, said = run(EXACT[text], size, export=tmp_path / "folder" if size == 9 else None)
    assert said == []
    assert str(callback.representation) == text.replace("HFlip", "D1(axis=90)")
    numbers = callback.report.scalars
    assert numbers["invariance/equivariance_error"] < 1e-4
    assert numbers["invariance/error"] < 1e-4
    assert numbers["invariance/error_raw"] > 0.1
    messages = " ".join(callback.report.messages)
    assert f"representation: '{callback.representation}', read off the output of layer 'body'" in messages or (
        f"representation: '{callback.representation}', read off layer 'body'" in messages
    )
    assert ("positions of its maps are averaged" in messages) == (size == 11)
    if size == 9:
        assert difference(module, callback, x, tmp_path / "folder") < 1e-4


@pytest.mark.parametrize("size", [9, 11], ids=["1x1", "3x3"])
@pytest.mark.parametrize("text", SMOOTH)
def test_groups_that_pixels_bear_in_part(text, size, tmp_path):
    build, holds = SMOOTH[text]
    module, callback, x, said = run(build, size, export=tmp_path / "folder" if size == 11 else None)
    assert str(callback.representation) == text
    assert [f"holds for {holds}." in finding for finding in said] == ([True] if holds else [])
    assert callback.report.scalars["invariance/equivariance_error"] < 0.2
    if size == 11:
        assert difference(module, callback, x, tmp_path / "folder") < 1e-4


AXIS = """
import sys, torch
sys.path.insert(0, {here!r})
from escnn import gspaces
from lightning_invariant import InvariantCallback
from tests.guests.escnn_networks import Steerable, fitted
for declared in (None, "D4(axis=90): 4 regular"):
    torch.manual_seed(0)
    space = gspaces.flipRot2dOnR2(4, axis=0.0)
    callback = InvariantCallback("body", declared, pick=lambda t: t.tensor if declared else t, figures=None)
    fitted(Steerable(space, 4 * [space.regular_repr]), callback)
    print(callback.representation, "|", callback.report.scalars["invariance/equivariance_error"])
    print(callback.report.messages)
"""


def test_another_axis_and_the_remedy_for_a_wrong_one():
    # escnn keeps kernels of one axis for all in a process, so this one is of its own.
    code = AXIS.format(here=str(Path(__file__).parents[2]))
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    read, _, declared, messages = [line for line in done.stdout.splitlines() if "D4" in line][-4:]
    assert read.startswith("D4: 4 regular | ")
    assert float(read.split("| ")[1]) < 1e-4
    assert float(declared.split("| ")[1]) > 0.1
    assert "'D4: 4 regular'" in messages  # what can be typed


def test_a_body_that_is_called_with_a_geometric_tensor(tmp_path):
    torch.manual_seed(0)
    space = C(4)
    module = Steerable(space, 4 * [space.regular_repr], direct=True)
    callback = InvariantCallback("body", max_overhead=None, figures=None, export=tmp_path / "folder")
    x = fitted(module, callback)
    assert callback.report.scalars["invariance/equivariance_error"] < 1e-4
    assert difference(module.eval(), callback, x, tmp_path / "folder") < 1e-4


def test_what_is_pulled_needs_no_escnn(tmp_path):
    module, callback, x, _ = run(EXACT["C4: 4 regular"], 9, export=tmp_path / "folder")
    torch.save(x, tmp_path / "x.pt")
    code = (
        "import sys, torch; from lightning_invariant import InvariantEncoder\n"
        f"x = torch.load({str(tmp_path / 'x.pt')!r})\n"
        f"torch.save(InvariantEncoder.from_pretrained({str(tmp_path / 'folder')!r})(x), {str(tmp_path / 'f.pt')!r})\n"
        "assert 'escnn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with torch.no_grad():
        live = callback.projection(module.latent(x))
    assert torch.allclose(torch.load(tmp_path / "f.pt"), live, atol=1e-4)


def test_a_declared_representation_that_contradicts_is_an_error_before_the_first_step():
    space = D(4)
    module = Steerable(space, 4 * [space.regular_repr])
    before = {name: tensor.clone() for name, tensor in module.named_parameters()}
    with pytest.raises(LayerError, match=r"'D4\(axis=90\): 4 regular', but 'D4: 4 regular' was declared"):
        fitted(module, InvariantCallback("body", "D4: 4 regular"))
    assert all(torch.equal(before[name], tensor) for name, tensor in module.named_parameters())


def test_a_subgroup_may_be_declared():
    space = D(4)
    callback = InvariantCallback("body", "C4: 8 regular", figures=None)
    fitted(Steerable(space, 4 * [space.regular_repr]), callback)
    assert callback.report.scalars["invariance/equivariance_error"] < 1e-4


def test_what_was_declared_stands_where_the_layer_speaks_of_what_has_no_notation():
    space = gspaces.octaOnR3()
    layer = enn.IdentityModule(enn.FieldType(space, 2 * [space.regular_repr]))
    declared, silent = Symmetry("body", Representation.parse("Cube: 2 regular")), Symmetry("body", None)
    declared.look(layer, last=True)
    with pytest.raises(GroupError, match="say how the symmetry acts by representation="):
        silent.look(layer, last=False)


def test_what_nothing_says_is_asked_for():
    torch.manual_seed(0)
    module = Wrapped(Encoder(4, 4), 16)
    with pytest.raises(LatentError, match=r"neither the layer nor its output \(32, 10\) says it.*'Z2: 10 signs'"):
        fitted(module, InvariantCallback("head"))


def test_an_own_class_whose_output_says_its_type(tmp_path):
    torch.manual_seed(0)
    module = Wrapped(Encoder(4, 4), 16)
    callback = InvariantCallback("encoder", max_overhead=None, figures=None, export=tmp_path / "folder")
    x = fitted(module, callback)
    assert str(callback.representation) == "C4: 4 regular"
    assert callback.report.scalars["invariance/equivariance_error"] < 1e-4
    with torch.no_grad():
        live = callback.projection(module.eval().encoder(x).tensor.flatten(1))
    assert torch.allclose(InvariantEncoder.from_pretrained(tmp_path / "folder")(x), live, atol=1e-4)


def test_class_path_where_nothing_can_be_traced(tmp_path):
    torch.manual_seed(0)
    arguments = {"n": 4, "fields": 4, "branch": True}
    module = Wrapped(Encoder(**arguments), 16, scale=2.0)
    export = Export(tmp_path / "folder", arguments=arguments)
    callback = InvariantCallback("encoder", max_overhead=None, figures=None, export=export)
    x = fitted(module, callback)
    encoder = InvariantEncoder.from_pretrained(tmp_path / "folder", network=Encoder)
    with torch.no_grad():
        live = callback.projection(module.eval().encoder(x).tensor.flatten(1))
        assert torch.allclose(encoder(x), live, atol=1e-4)
    assert any("class path and arguments are published" in message for message in callback.report.messages)


def test_without_arguments_the_refusal_comes_before_the_first_step(tmp_path):
    module = Wrapped(Encoder(4, 4, branch=True), 16)
    before = [parameter.clone() for parameter in module.parameters()]
    with pytest.raises(GraphError, match=r"With Export\(..., arguments=\{...\}\) for the layer's class"):
        fitted(module, InvariantCallback("encoder", export=tmp_path / "folder"))
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
    assert not (tmp_path / "folder").exists()


def test_states_of_either_mode_give_the_same_network():
    torch.manual_seed(0)
    space, x = C(4), torch.randn(3, 1, 9, 9)
    trained = Steerable(space, 2 * [space.regular_repr])
    with torch.no_grad():
        for mode in (True, False):
            state = {name: tensor.clone() for name, tensor in trained.train(mode).state_dict().items()}
            if not mode:
                state = {name: t * 0 if name.endswith("filter") else t for name, t in state.items()}
            fresh = Steerable(space, 2 * [space.regular_repr]).eval()
            assert not torch.allclose(fresh.latent(x), trained.eval().latent(x))
            put_state(fresh, state)
            assert torch.allclose(fresh.latent(x), trained.eval().latent(x), atol=1e-6)
    assert set(tensors_of(trained.train())) == set(tensors_of(trained.eval()))
    assert any(name.endswith("filter") for name, _ in trained.named_buffers())


def test_layers_without_an_export_of_their_own(tmp_path):
    space = C(4)
    module = Steerable(space, 4 * [space.regular_repr])
    pool = enn.PointwiseAvgPool(module.body.out_type, 3)
    module.body = enn.SequentialModule(*module.body.children(), pool)
    callback = InvariantCallback("body", max_overhead=None, figures=None, export=tmp_path / "folder")
    x = fitted(module, callback, 11)
    assert difference(module.eval(), callback, x, tmp_path / "folder") < 1e-4


D4 = D(4)
INWARD = enn.FieldType(D4, [D4.trivial_repr])
REGULAR, VECTORS = enn.FieldType(D4, 4 * [D4.regular_repr]), enn.FieldType(D4, 4 * [D4.irrep(1, 1)])
MIXED = enn.FieldType(D4, [D4.trivial_repr, D4.irrep(1, 1), D4.trivial_repr, D4.irrep(1, 1)])
LAYERS = {
    "InnerBatchNorm": lambda: enn.InnerBatchNorm(REGULAR),
    "IIDBatchNorm2d": lambda: enn.IIDBatchNorm2d(REGULAR),
    "NormBatchNorm": lambda: enn.NormBatchNorm(VECTORS),
    "ELU": lambda: enn.ELU(REGULAR),
    "NormNonLinearity": lambda: enn.NormNonLinearity(VECTORS),
    "NormNonLinearity of fields that do not stand together": lambda: enn.NormNonLinearity(MIXED),
    "FourierELU": lambda: enn.FourierELU(D4, 4, irreps=[(0, 0), (1, 0), (1, 1)], type="regular", N=4, inplace=False),
    "PointwiseMaxPool": lambda: enn.PointwiseMaxPool(REGULAR, 2),
    "PointwiseMaxPoolAntialiased": lambda: enn.PointwiseMaxPoolAntialiased(REGULAR, 2),
    "PointwiseAvgPoolAntialiased": lambda: enn.PointwiseAvgPoolAntialiased(REGULAR, 0.66, 2),
    "PointwiseAdaptiveAvgPool": lambda: enn.PointwiseAdaptiveAvgPool(REGULAR, 1),
    "NormMaxPool": lambda: enn.NormMaxPool(VECTORS, 2),
    "NormPool": lambda: enn.NormPool(VECTORS),
    "GroupPooling": lambda: enn.GroupPooling(REGULAR),
    "PointwiseDropout": lambda: enn.PointwiseDropout(REGULAR),
    "R2Upsampling": lambda: enn.R2Upsampling(REGULAR, 2),
    "R2ConvTransposed": lambda: enn.R2ConvTransposed(REGULAR, REGULAR, 3),
    "RestrictionModule": lambda: enn.RestrictionModule(REGULAR, (None, 4)),
    "ReshuffleModule": lambda: enn.ReshuffleModule(REGULAR, [1, 0, 3, 2]),
}


class Net(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layers = enn.SequentialModule(
            enn.MaskModule(INWARD, 9, margin=1), enn.R2Conv(INWARD, layer.in_type, 5), layer
        )

    def forward(self, x):
        return self.layers(enn.GeometricTensor(x, INWARD)).tensor


@pytest.mark.parametrize("name", LAYERS)
def test_layers_become_plain_graphs(name):
    torch.manual_seed(0)
    network, x = Net(LAYERS[name]()).eval(), torch.randn(4, 1, 9, 9)  # with gradients, so that filters have a history
    with torch.no_grad():
        plain = escnn_modules.plain(network)
        assert torch.allclose(plain(x), network(x), atol=1e-6)
        found = export_graph(plain, (x,))
        assert torch.allclose(GraphModule(found.graph, found.tensors)(x), network(x), atol=1e-5)
        with pytest.raises(GraphError):
            export_graph(network, (x,))
