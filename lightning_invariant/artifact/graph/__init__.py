"""A network as data: an allow-listed graph in JSON beside a flat dict of tensors, without its class and without pickle.

What was tried: a `torch.fx` graph rebuilt from validated nodes under names of our own, against an interpreter module.
The numbers were equal and both compiled without a break, but on one CPU core the interpreter fell to 87% of eager
speed (small ViT) and 91% (tiny MLP) where fx kept 99% and more; decomposing to core ATen first cost another 4% (conv
net) to 60% (MLP) and changed last bits, so the graph keeps the operators that `torch.export` records.

Source text is generated from names made here and from literals that passed the schema of their operator; nothing else
of a file gets near it. This is "no pickle, an allow-listed graph", not a sandbox: a graph may still compute nonsense.
"""

from lightning_invariant.artifact.graph.check import FORMAT_VERSION
from lightning_invariant.artifact.graph.meta_run import MAX_BYTES
from lightning_invariant.artifact.graph.module import GraphModule
from lightning_invariant.artifact.graph.record import GraphArtifact, export_graph

__all__ = ["FORMAT_VERSION", "MAX_BYTES", "GraphArtifact", "GraphModule", "export_graph"]
