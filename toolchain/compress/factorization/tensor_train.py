"""Tensor trains: an array as a chain of cores (Oseledets 2011, Tensor-train decomposition, section 1).

    A[i1, ..., id]  =  sum over a1, ..., a(d-1) of  G1[i1, a1] G2[a1, i2, a2] ... Gd[a(d-1), id]

Two cores are a singular value decomposition. Three cores of [inputs, kernel, outputs] are Tucker-2 (Kim et al. 2016,
section 3.1): the outer cores are its factors, the middle one is its core tensor.

The k-th unfolding puts the first k axes in rows. Truncated to ranks r1, ..., r(d-1), TT-SVD (Oseledets, algorithm 1;
for three cores the HOSVD) has a squared error of at most the sum over k of the squared singular values that the k-th
unfolding has behind r_k (theorem 2.2). It goes from the first core to the last. Further sweeps, in turns backward and
forward, choose each core again while the others are held: higher-order orthogonal iteration (De Lathauwer et al. 2000,
On the best rank-(R1, ..., RN) approximation). No sweep makes the error larger.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["balanced", "contracted", "decompose", "spectra"]

_SWEEPS = 8
_LEAST_GAIN = 1e-5
"""Sweeps end where one keeps no more of the squared norm than this share on top."""


def spectra(tensor: Tensor) -> tuple[Tensor, ...]:
    """The squared singular values of each unfolding, descending; for d axes, d - 1 of them."""
    sizes = tensor.shape
    unfoldings = [tensor.reshape(math.prod(sizes[:k]), -1) for k in range(1, tensor.ndim)]
    return tuple(torch.linalg.eigvalsh(_gram(matrix)).flip(0).clamp(min=0) for matrix in unfoldings)


def decompose(tensor: Tensor, ranks: Sequence[int]) -> list[Tensor]:
    """Cores [r(k-1), d(k), r(k)] of a tensor of d >= 2 axes, with r0 = r(d) = 1.

    Args:
        tensor: float64.
        ranks: r1, ..., r(d-1), each at most r(k-1) d(k) and d(k+1) r(k+1).
    """
    ranks, cores = list(ranks), list[Tensor]()
    total, kept = float(tensor.square().sum()), -1.0
    backward = False
    for _ in range(_SWEEPS if tensor.ndim > 2 else 1):
        cores = _sweep(tensor, ranks, held=cores)
        energy = float(cores[-1].square().sum())
        if energy - kept <= _LEAST_GAIN * total:
            break
        # the next sweep goes the other way, which is the same on the mirrored tensor
        tensor, ranks, cores, backward = _mirrored(tensor), ranks[::-1], _mirror(cores), not backward
        kept = energy
    return _mirror(cores) if backward else cores


def balanced(cores: Sequence[Tensor]) -> list[Tensor]:
    """The same product, with each bond's channels as strong in the core before as in the core behind.

    Of a singular value decomposition both factors get the root of each singular value, from which gradient descent
    goes well (Khodak et al. 2021, Initialization and regularization of factorized neural layers, spectral
    initialization).
    """
    found = list(cores)
    for k in range(len(found) - 1):
        before, behind = found[k].norm(dim=(0, 1)), found[k + 1].norm(dim=(1, 2))
        scale = torch.where((before > 0) & (behind > 0), (behind / before).sqrt(), 1.0)
        found[k], found[k + 1] = found[k] * scale, found[k + 1] / scale[:, None, None]
    return found


def contracted(cores: Sequence[Tensor]) -> Tensor:
    """The tensor that the cores stand for."""
    product = cores[0]
    for core in cores[1:]:
        product = torch.tensordot(product, core, dims=1)
    return product.squeeze(0).squeeze(-1)


def _sweep(tensor: Tensor, ranks: Sequence[int], held: Sequence[Tensor]) -> list[Tensor]:
    """Cores from the first to the last; all but the last are orthonormal, [r(k-1) d(k), r(k)].

    Args:
        tensor, ranks: as in `decompose`.
        held: cores of a sweep from the last to the first, on whose span the part behind each next core is projected;
            none in the first sweep.
    """
    sizes, last = tensor.shape, tensor.ndim - 1
    cores: list[Tensor] = []
    left = 1
    for k in range(last):
        tensor = tensor.reshape(left * sizes[k], -1)
        seen = tensor
        if held and k + 2 <= last:
            behind = contracted(held[k + 2 :]).reshape(held[k + 2].shape[0], -1)
            seen = (tensor.reshape(-1, behind.shape[1]) @ behind.T).reshape(len(tensor), -1)
        basis = _left_basis(seen, ranks[k])
        cores.append(basis.reshape(left, sizes[k], ranks[k]))
        tensor = basis.T @ tensor
        left = ranks[k]
    return [*cores, tensor.reshape(left, sizes[last], 1)]


def _left_basis(matrix: Tensor, rank: int) -> Tensor:
    """An orthonormal basis of the span of the `rank` strongest left singular vectors."""
    largest: Tensor = torch.linalg.eigh(_gram(matrix)).eigenvectors.flip(1)[:, :rank]
    if len(matrix) <= matrix.shape[1]:
        return largest
    basis: Tensor = torch.linalg.qr(matrix @ largest).Q
    return basis


def _gram(matrix: Tensor) -> Tensor:
    """The products of a matrix's rows, or of its columns if they are fewer; its eigenvalues are the squared singular
    values. float64 holds the squares of all that a float32 weight can tell apart, and this is faster than an SVD."""
    return matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix


def _mirrored(tensor: Tensor) -> Tensor:
    return tensor.permute(*reversed(range(tensor.ndim)))


def _mirror(cores: Sequence[Tensor]) -> list[Tensor]:
    return [_mirrored(core) for core in reversed(cores)]
