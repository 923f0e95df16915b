"""A pretended GPU, on which the CUDA path of the suite runs on a machine without a GPU.

`pytest --pretended-gpu tests/gpu` makes torch report one GPU. Its tensors say that they are on
`cuda:0` and hold their values on the CPU. They refuse what CUDA refuses, with similar messages:

- an operation on tensors of host and GPU together, or with a random generator of the host;
- `numpy()` of a GPU tensor;
- any wait for the GPU while `torch.cuda.set_sync_debug_mode("error")` is set;
- with deterministic algorithms, an operation that has no deterministic kernel, and a matrix product
  if CUBLAS_WORKSPACE_CONFIG was not set at the process's first one.

`counted` counts the waits and kernel launches inside a block.

What this cannot show: TF32 and bfloat16 (autocast does nothing) and the rounding of CUDA's kernels,
copies that are read before they have arrived, NCCL, real memory, and real speed. A launch is an
operation that is not a view; CUDA may launch more than one kernel for it.
"""

import os
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

TORCH = "2.14"  # the mechanism uses private functions of torch; other versions are not tried
GPU = torch.device("cuda", 0)
NATIVE = torch.device("meta")  # the device that torch's C++ code sees, which computes nothing
aten = torch.ops.aten

COPIES = {aten._to_copy.default, aten.copy_.default}
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
INDEXED |= {aten._index_put_impl_.default}
# The host needs a value or a size from the GPU.
READS = {
    *(aten._local_scalar_dense.default, aten.equal.default, aten._linalg_check_errors.default),
    *(aten.nonzero.default, aten.masked_select.default, aten.bincount.default),
    *(aten._unique2.default, aten.unique_dim.default, aten.unique_consecutive.default),
    *(aten._linalg_eigh.default, aten._linalg_svd.default, aten.histc.default),
}
PRODUCTS = {aten.mm.default, aten.bmm.default, aten.addmm.default, aten.addmm_.default}
WORKSPACES = (":4096:8", ":16:8")
# Of torch.use_deterministic_algorithms' list, what raises an error.
NOT_DETERMINISTIC = {
    *(aten.nll_loss2d_forward.default, aten._adaptive_avg_pool2d_backward.default),
    *(aten.adaptive_max_pool2d_backward.default, aten.max_unpool2d.default),
    *(aten.upsample_linear1d_backward.default, aten.upsample_bilinear2d_backward.default),
    *(aten.upsample_bicubic2d_backward.default, aten.upsample_trilinear3d_backward.default),
    *(aten.reflection_pad1d_backward.default, aten.reflection_pad2d_backward.default),
    *(aten.grid_sampler_2d_backward.default, aten.avg_pool3d_backward.default),
    *(aten.median.dim, aten.nanmedian.dim, aten.histc.default, aten.put_.default),
    *(aten.kthvalue.default, aten._ctc_loss_backward.default),
}
NO_KERNEL = {
    *(aten.empty.memory_format, aten.empty_like.default, aten.empty_strided.default),
    *(aten.new_empty.default, aten.new_empty_strided.default, aten.detach.default),
    *(aten._local_scalar_dense.default, aten.equal.default),
}


@dataclass
class Counts:
    """Waits for the GPU, by their reasons, and launches of kernels, by their operations."""

    waits: list[str] = field(default_factory=list)
    launches: Counter[str] = field(default_factory=Counter)


_counts, _mode = Counts(), "default"


@contextmanager
def counted() -> Iterator[Counts]:
    """Count inside the block."""
    global _counts
    before, _counts = _counts, Counts()
    try:
        yield _counts
    finally:
        _counts = before


class PretendedTensor(torch.Tensor):
    """A tensor on the pretended GPU.

    Attributes:
        own: the values, a CPU tensor.
    """

    own: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    device = property(lambda self: GPU)
    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)

    @staticmethod
    def __new__(cls, own: torch.Tensor) -> "PretendedTensor":
        new = torch.Tensor._make_wrapper_subclass(
            cls,
            own.size(),
            strides=own.stride(),
            storage_offset=own.storage_offset(),
            dtype=own.dtype,
            device=NATIVE,
        )
        new.own = own.detach()
        return new

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, op: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _dispatch(op, args, kwargs or {})

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return f"PretendedTensor({list(self.shape)}, {self.dtype})"

    def tolist(self) -> Any:
        _wait("tolist")
        return self.own.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    __array__ = numpy  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.own.__reduce_ex__(protocol)  # torch.load brings it back to the host


class _Pretend(TorchDispatchMode):
    """Send operations that name the GPU, without a tensor on it, the same way."""

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _dispatch(op, args, kwargs or {})


def _wait(why: str) -> None:
    _counts.waits.append(why)
    if _mode == "error":
        raise RuntimeError(f"called a synchronizing CUDA operation: {why}")
    if _mode == "warn":
        warnings.warn(f"called a synchronizing CUDA operation: {why}", stacklevel=2)


def _names_gpu(device: Any) -> bool:
    return device is not None and torch.device(device).type in (GPU.type, NATIVE.type)


def _dispatch(op: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Compute an operation of torch on the pretended GPU, if one of its tensors is there."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    ours = [x for x in tensors if isinstance(x, PretendedTensor)]
    if not ours and not _names_gpu(kwargs.get("device")):
        return op(*args, **kwargs)
    if torch._C._dispatch_has_kernel_for_dispatch_key(op.name(), "CompositeImplicitAutograd"):
        with _Pretend():  # type: ignore[no-untyped-call]
            return op.decompose(*args, **kwargs)
    if op is aten.copy_.default and _same_memory(*args[:2]):
        return args[0]  # an assignment to an index copies a view to itself
    _refuse_mixed_devices(op, args, kwargs, tensors)
    if why := _reason_to_wait(op, args, kwargs):
        _wait(f"{why} in {op}")
    refused = _not_deterministic(op, args, kwargs)
    if refused and torch.are_deterministic_algorithms_enabled():
        raise RuntimeError(f"{op} does not have a deterministic implementation")
    if op not in NO_KERNEL and not _is_view(op):
        _counts.launches[str(op)] += 1
    return _compute(op, args, kwargs, tensors)


def _same_memory(target: Any, source: Any) -> bool:
    both = isinstance(target, PretendedTensor) and isinstance(source, PretendedTensor)
    return both and target.own.data_ptr() == source.own.data_ptr()


def _is_view(op: Any) -> bool:
    return any(r.alias_info is not None and not r.alias_info.is_write for r in op._schema.returns)


def _refuse_mixed_devices(op: Any, args: Any, kwargs: dict[str, Any], tensors: list[Any]) -> None:
    generator = kwargs.get("generator")
    if generator is not None and generator.device.type == "cpu":
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    host = [x for x in tensors if not isinstance(x, PretendedTensor)]
    if op in COPIES:
        return
    if op in INDEXED:  # indices may be on the host, and so may a single value
        indices = [x for x in args[1] if x is not None]
        host = [x for x in host if x.dim() and not any(x is i for i in indices)]
        wrong = host or not isinstance(args[0], PretendedTensor)
    else:
        wrong = any(x.dim() or torch.Tag.pointwise not in op.tags for x in host)
    if wrong:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, "
            f"cuda:0 and cpu: {op}"
        )


def _reason_to_wait(op: Any, args: Any, kwargs: dict[str, Any]) -> str | None:
    if op in COPIES:
        source = args[0] if op is aten._to_copy.default else args[1]
        target = kwargs.get("device") if op is aten._to_copy.default else args[0].device
        to_gpu = isinstance(source, PretendedTensor) if target is None else _names_gpu(target)
        blocking = not (kwargs.get("non_blocking") or args[2:3] == (True,))
        across = isinstance(source, PretendedTensor) != to_gpu
        return "a blocking copy" if across and blocking else None
    if op in INDEXED:
        indices = [x for x in args[1] if x is not None]
        mask = any(x.dtype in (torch.bool, torch.uint8) for x in indices)
        host = any(not isinstance(x, PretendedTensor) for x in indices)
        return "a mask" if mask else "an index on the host" if host else None
    sized = op is aten.repeat_interleave.Tensor and kwargs.get("output_size") is None
    return "a value read" if op in READS or sized else None


@cache
def _workspace() -> str | None:
    """Return the setting of cuBLAS, which reads it once."""
    return os.environ.get("CUBLAS_WORKSPACE_CONFIG")


def _not_deterministic(op: Any, args: Any, kwargs: dict[str, Any]) -> bool:
    if op in PRODUCTS:
        return _workspace() not in WORKSPACES
    if op is aten.bincount.default:
        return (args[1] if len(args) > 1 else kwargs.get("weights")) is not None
    return op in NOT_DETERMINISTIC or (op is aten.scatter_reduce.two and args[4] == "prod")


def _compute(op: Any, args: Any, kwargs: dict[str, Any], tensors: list[Any]) -> Any:
    """Compute on the CPU tensors inside, and wrap what is on the GPU."""
    wrapped = {id(x.own): x for x in tensors if isinstance(x, PretendedTensor)}
    device = kwargs.get("device")
    inside, options = tree_map_only(PretendedTensor, lambda x: x.own, (args, dict(kwargs)))
    if device is not None:
        options["device"] = "cpu"
    if op is aten._to_copy.default:
        options.pop("non_blocking", None)
    with torch.no_grad():
        result = op(*inside, **options)

    def wrap(value: torch.Tensor) -> torch.Tensor:
        if id(value) in wrapped:  # written in place
            return wrapped[id(value)]
        return PretendedTensor(value) if device is None or _names_gpu(device) else value

    # In inference mode a view of a normal tensor is a normal tensor.
    normal = _is_view(op) and not tensors[0].is_inference()
    with torch.inference_mode(False) if normal else nullcontext():
        return tree_map_only(torch.Tensor, wrap, result)


def install() -> None:
    """Make torch report the pretended GPU until the process ends.

    Raises:
        RuntimeError: torch finds a real GPU, or this version of torch is not tried.
    """
    if torch.cuda.is_available():
        raise RuntimeError("torch finds a real GPU: run the tests without --pretended-gpu")
    if torch.__version__.split("+")[0].rsplit(".", 1)[0] != TORCH:
        raise RuntimeError(f"written for torch {TORCH}, this is {torch.__version__}")
    torch._C._ensureCUDADeviceGuardSet()  # a guard that does nothing
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # .to() changes the class
    answers = {
        "_lazy_init": None,
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "set_device": None,
        "get_device_name": "pretended GPU",
        "mem_get_info": (2**36, 2**36),
        "max_memory_allocated": 0,
        "reset_peak_memory_stats": None,
        "empty_cache": None,
        "is_bf16_supported": True,
        "is_current_stream_capturing": False,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    torch.cuda.synchronize = lambda *_: _wait("synchronize")
    torch.cuda.set_sync_debug_mode = _set_mode  # type: ignore[assignment]
    torch.Tensor.pin_memory = _pinned  # type: ignore[assignment, method-assign]
    torch.Tensor.is_pinned = _is_pinned  # type: ignore[assignment, method-assign]
    for name in ("tensor", "as_tensor"):  # both read Python values before they dispatch
        setattr(torch, name, _made_on_host(getattr(torch, name)))
    _Pretend().__enter__()  # type: ignore[no-untyped-call]


def _pinned(tensor: torch.Tensor) -> torch.Tensor:
    copy = tensor.clone()
    copy.pinned = True  # type: ignore[attr-defined]
    return copy


def _is_pinned(tensor: torch.Tensor) -> bool:
    return hasattr(tensor, "pinned")


def _set_mode(mode: Any) -> None:
    global _mode
    _mode = {0: "default", 1: "warn", 2: "error"}.get(mode, mode)


def _made_on_host(make: Any) -> Any:
    def made(data: Any, *args: Any, device: Any = None, **options: Any) -> Any:
        if isinstance(data, PretendedTensor):
            return data if device is None else data.to(device)
        if _names_gpu(device):
            return make(data, *args, **options).to(GPU)
        return make(data, *args, device=device, **options)

    return made
