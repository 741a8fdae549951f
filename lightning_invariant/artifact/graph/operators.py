"""The operators that a graph may name; whatever is not listed here does not exist for it.

Left out on purpose: operators that draw random numbers, return uninitialised memory, reinterpret storage
(`as_strided`, `set_`, `view.dtype`), touch files, run callbacks, read a number out of a tensor (`item`), or give
results whose size depends on values (`nonzero`, `unique`).
"""

from __future__ import annotations

import operator
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from torch._ops import OpOverload

# "name" stands for name.default, "name:a,b" for name.a and name.b.
_LAYERS = """
linear bilinear embedding conv1d:default,padding conv2d:default,padding conv3d:default,padding conv_transpose1d
conv_transpose2d:input conv_transpose3d:input batch_norm layer_norm group_norm instance_norm rms_norm
scaled_dot_product_attention _weight_norm prelu gru:input lstm:input rnn_tanh:input rnn_relu:input max_pool1d
max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices avg_pool1d avg_pool2d
avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
adaptive_max_pool3d pad constant_pad_nd upsample_nearest1d:vec upsample_nearest2d:vec upsample_nearest3d:vec
upsample_linear1d:vec upsample_bilinear2d:vec upsample_bicubic2d:vec upsample_trilinear3d:vec
_upsample_nearest_exact1d:vec _upsample_nearest_exact2d:vec _upsample_bilinear2d_aa:vec _upsample_bicubic2d_aa:vec
grid_sampler affine_grid_generator pixel_shuffle pixel_unshuffle channel_shuffle im2col col2im
cosine_similarity pairwise_distance
"""
_POINTWISE = """
abs acos acosh asin asinh atan atanh atan2 ceil cos cosh deg2rad erf erfc erfinv exp exp2 expm1 floor frac lgamma log
log10 log1p log2 log_sigmoid logit neg negative rad2deg reciprocal relu relu6 round:default,decimals rsqrt sigmoid
sign sgn sin sinc sinh sqrt square tan tanh trunc angle real imag conj conj_physical resolve_conj view_as_real
view_as_complex complex polar isfinite isnan isinf logical_not logical_and logical_or logical_xor celu elu selu gelu
glu hardshrink hardsigmoid hardswish hardtanh leaky_relu mish silu softplus softshrink threshold add:Tensor,Scalar
sub:Tensor,Scalar rsub:Tensor,Scalar mul:Tensor,Scalar div:Tensor,Scalar,Tensor_mode,Scalar_mode
true_divide:Tensor,Scalar floor_divide:default,Scalar remainder:Tensor,Scalar fmod:Tensor,Scalar
pow:Tensor_Tensor,Tensor_Scalar,Scalar maximum minimum fmax fmin hypot addcmul addcdiv lerp:Scalar,Tensor
clamp:default,Tensor clamp_min:default,Tensor clamp_max:default,Tensor clip nan_to_num bitwise_not
bitwise_and:Tensor,Scalar,Scalar_Tensor bitwise_or:Tensor,Scalar,Scalar_Tensor
bitwise_xor:Tensor,Scalar,Scalar_Tensor eq:Tensor,Scalar ne:Tensor,Scalar lt:Tensor,Scalar
le:Tensor,Scalar gt:Tensor,Scalar ge:Tensor,Scalar where:self,Scalar,ScalarSelf,ScalarOther
masked_fill:Scalar,Tensor logaddexp logaddexp2 digamma i0 special_i0 special_i0e special_i1 special_i1e special_erfcx
special_ndtr special_entr xlogy:Tensor copysign:Tensor heaviside subtract:Tensor,Scalar multiply:Tensor,Scalar
divide:Tensor,Scalar absolute positive bucketize:Tensor searchsorted:Tensor
"""
_REDUCTIONS = """
sum:default,dim_IntList mean:default,dim prod:default,dim_int amax amin aminmax max:default,dim,other
min:default,dim,other argmax argmin all:default,dim,dims any:default,dim,dims median:default,dim
std:default,dim,correction var:default,dim,correction var_mean:default,dim,correction
std_mean:default,dim,correction logsumexp nansum nanmean quantile:default,scalar
norm:Scalar,ScalarOpt_dim cumsum cumprod cummax cummin logcumsumexp softmax:int log_softmax:int sort:default,stable
argsort:default,stable topk kthvalue mode count_nonzero:default,dim_IntList
"""
_SHAPES = """
view reshape flatten:using_ints unflatten:int view_as expand expand_as permute transpose:int t mT mH adjoint swapaxes
swapdims movedim:int,intlist squeeze:default,dim,dims unsqueeze select:int slice:Tensor narrow index:Tensor
index_select gather take_along_dim diagonal diag_embed diag unfold cat concat stack hstack vstack chunk
split:Tensor,sizes split_with_sizes tensor_split:sections,indices unbind:int repeat tile repeat_interleave:self_int
roll rot90 flip fliplr flipud tril triu one_hot clone contiguous detach alias scatter:src,value scatter_add
scatter_reduce:two index_add index_put index_copy index_fill:int_Scalar,int_Tensor masked_scatter
to:dtype,device,dtype_layout,other type_as broadcast_tensors broadcast_to
"""
_CREATION = """
zeros ones full arange:default,start,start_step linspace eye:default,m zeros_like ones_like full_like new_zeros
new_ones new_full scalar_tensor tril_indices triu_indices meshgrid:default,indexing
"""
_ALGEBRA = """
matmul mm bmm mv dot vdot addmm addmv addbmm baddbmm outer einsum tensordot kron cdist linalg_cross cross trace
linalg_vector_norm linalg_norm:default,ord_str linalg_vecdot inner
linalg_matrix_norm:default,str_ord linalg_det linalg_slogdet linalg_inv linalg_pinv linalg_solve
linalg_cholesky linalg_qr linalg_eigh linalg_eigvalsh linalg_svd linalg_svdvals linalg_matrix_power linalg_matrix_exp
matrix_exp fft_fft fft_ifft fft_rfft fft_irfft fft_hfft fft_ihfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_fftn
fft_ifftn fft_rfftn fft_irfftn fft_fftshift fft_ifftshift
"""
_IN_PLACE = """
relu_ leaky_relu_ elu_ celu_ selu_ silu_ mish_ hardswish_ hardsigmoid_ hardtanh_ relu6_ threshold_ sigmoid_ tanh_ exp_
log_ sqrt_ rsqrt_ abs_ neg_ square_ reciprocal_ sin_ cos_ round_ floor_ ceil_ add_:Tensor,Scalar sub_:Tensor,Scalar
mul_:Tensor,Scalar div_:Tensor,Scalar pow_:Scalar,Tensor remainder_:Scalar,Tensor addcmul_ addcdiv_ addmm_ baddbmm_
clamp_:default,Tensor clamp_min_ clamp_max_ fill_:Scalar,Tensor zero_ copy_ masked_fill_:Scalar,Tensor index_put_
index_add_ index_copy_ index_fill_:int_Scalar,int_Tensor scatter_:src,value scatter_add_ scatter_reduce_:two tril_
triu_ nan_to_num_ logical_not_ logical_and_ logical_or_ logical_xor_ bitwise_not_ bitwise_and_:Tensor,Scalar
bitwise_or_:Tensor,Scalar bitwise_xor_:Tensor,Scalar
"""

# Operators that may hand back their own argument although their schema does not say so.
_ALIASING = """
einsum type_as conj_physical pixel_shuffle pixel_unshuffle real imag tensordot meshgrid:default,indexing tile hstack
vstack fliplr flipud to:other linalg_matrix_power kron fft_fftshift fft_ifftshift broadcast_tensors channel_shuffle
inner
"""
# Arguments that stand for one of a few ways to compute, by name, or by operator and name where they differ.
_ENUMS: dict[str, tuple[str | int, ...]] = {
    "padding": ("same", "valid"),
    "rounding_mode": ("floor", "trunc"),
    "norm": ("backward", "ortho", "forward"),
    "approximate": ("none", "tanh"),
    "UPLO": ("L", "U"),
    "ord": ("fro", "nuc"),
    "linalg_qr.mode": ("reduced", "complete", "r"),
    "pad.mode": ("constant", "reflect", "replicate", "circular"),
    "driver": ("gesvd", "gesvdj", "gesvda"),
    "indexing": ("ij", "xy"),
    "interpolation": ("linear", "lower", "higher", "midpoint", "nearest"),
    "reduce": ("sum", "prod", "mean", "amax", "amin"),
    "side": ("left", "right"),
    "interpolation_mode": (0, 1, 2),
    "padding_mode": (0, 1, 2),
    "compute_mode": (0, 1, 2),
}
_DTYPES = "float16 bfloat16 float32 float64 complex64 complex128 uint8 int8 int16 int32 int64 bool"


def _overloads(*tables: str) -> frozenset[str]:
    return frozenset(
        f"aten.{name}.{overload}"
        for entry in " ".join(tables).split()
        for name, _, overloads in [entry.partition(":")]
        for overload in (overloads or "default").split(",")
    )


ALLOWED = _overloads(_LAYERS, _POINTWISE, _REDUCTIONS, _SHAPES, _CREATION, _ALGEBRA, _IN_PLACE)
UNDECLARED_ALIASES = _overloads(_ALIASING)
EINSUM = r"[a-zA-Z.,\-> ]{1,200}"
OTHER_NAMES = {
    f"aten.__{i}{symbol}__.{overload}": f"aten.bitwise_{symbol}{'_' * bool(i)}.{overload}"
    for symbol in ("and", "or", "xor")
    for i in ("", "i")
    for overload in ("Tensor", "Scalar")
}
"""What PyTorch calls `&`, `|`, `^` and their in-place forms in a trace, and the same operator under its usual name."""
DTYPES = {name: getattr(torch, name) for name in _DTYPES.split()}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
MEMORY_FORMATS = {
    name: getattr(torch, name) for name in ("contiguous_format", "preserve_format", "channels_last", "channels_last_3d")
}
MEMORY_FORMAT_NAMES = {value: name for name, value in MEMORY_FORMATS.items()}

INTEGER_OPS: dict[str, tuple[Callable[..., Any], int]] = {
    **{f"sym.{name}": (getattr(operator, name), 2) for name in ["add", "sub", "mul", "floordiv", "mod", "truediv"]},
    **{f"sym.{name}": (getattr(torch, f"sym_{name}"), 2) for name in ("max", "min")},
    **{f"sym.{name}": (getattr(torch, f"sym_{name}"), 1) for name in ("float", "int")},
    "sym.neg": (operator.neg, 1),
}


def allowed_values(op: str, argument: str) -> tuple[str | int, ...] | None:
    """The values that an operator's argument may have, if it stands for one of a few ways to compute."""
    if argument == "padding" and not op.endswith(".padding"):
        return None
    return _ENUMS.get(f"{op.split('.')[1]}.{argument}", _ENUMS.get(argument))


@lru_cache(maxsize=1024)
def find_operator(name: str) -> OpOverload:
    """Look up an allow-listed ATen operator such as "aten.conv2d.default".

    For a view it is that of reshape, which is a view wherever one can be had: another torch may lay out attention in
    another way than the one that traced it.
    """
    if name not in ALLOWED:
        raise GraphError(
            f"Expected an operator of the allow-list but got {name!r}; it is not known to be safe, so the graph is "
            "refused."
        )
    _, packet, overload = name.replace("aten.view.", "aten.reshape.").split(".")
    try:
        return getattr(getattr(torch.ops.aten, packet), overload)
    except AttributeError:
        raise GraphError(
            f"Expected an operator of torch {torch.__version__} but got {name!r}; install the torch that wrote the "
            "graph."
        ) from None
