"""A stand-in for NVIDIA's libcuda, which no machine of the tests has: the few functions that tests/gpu/cuda.py calls.

As strict as the real one about their order: without cuInit, a context or a module it answers with the real codes. It
computes the kernel's chain itself, so nothing here shows that a GPU would take the PTX; ptxas 12.9 and 13.0 do.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

from tests.gpu.cuda import chain

INVALID_PTX, INVALID_CONTEXT, NOT_INITIALIZED, NO_DEVICE = 218, 201, 3, 100
NAMES = {
    INVALID_PTX: b"CUDA_ERROR_INVALID_PTX",
    INVALID_CONTEXT: b"CUDA_ERROR_INVALID_CONTEXT",
    NOT_INITIALIZED: b"CUDA_ERROR_NOT_INITIALIZED",
    NO_DEVICE: b"CUDA_ERROR_NO_DEVICE",
}


class Libcuda:
    """Name of each device by its uuid; the targets of PTX that it takes; what is added to what a kernel computes."""

    def __init__(self, uuids: Mapping[bytes, bytes], targets: tuple[str, ...] = ("sm_50",), wrong: int = 0) -> None:
        self.uuids, self.targets, self.wrong = uuids, targets, wrong
        self.ready = self.current = self.retained = False
        self.value = 0

    def __getattr__(self, name: str) -> Callable[..., int]:
        raise AttributeError(f"no such function in the stand-in: {name}")

    def cuGetErrorName(self, code: int, name: Any) -> int:
        name._obj.value = NAMES.get(code)
        return 0

    def cuInit(self, _: int) -> int:
        self.ready = True
        return 0 if self.uuids else NO_DEVICE

    def cuDriverGetVersion(self, found: Any) -> int:
        found._obj.value = 13020
        return 0

    def cuDeviceGetCount(self, found: Any) -> int:
        found._obj.value = len(self.uuids)
        return 0 if self.ready else NOT_INITIALIZED

    def cuDeviceGet(self, found: Any, place: int) -> int:
        found._obj.value = place
        return 0 if self.ready else NOT_INITIALIZED

    def cuDeviceGetName(self, name: Any, _: int, device: int) -> int:
        name.value = list(self.uuids.values())[device]
        return 0

    def cuDeviceGetUuid_v2(self, uuid: Any, device: int) -> int:
        uuid[:] = list(self.uuids)[device]
        return 0

    def cuDeviceGetPCIBusId(self, bus: Any, _: int, device: int) -> int:
        bus.value = b"0000:%02X:00.0" % (device + 7)
        return 0

    def cuDeviceTotalMem_v2(self, found: Any, _: int) -> int:
        found._obj.value = 80 * 2**30
        return 0

    def cuDeviceGetAttribute(self, found: Any, attribute: int, _: int) -> int:
        assert attribute == 16
        found._obj.value = 132
        return 0

    def cuDevicePrimaryCtxRetain(self, found: Any, _: int) -> int:
        found._obj.value, self.retained = 0x1000, True
        return 0

    def cuDevicePrimaryCtxRelease_v2(self, _: int) -> int:
        self.retained = self.current = False
        return 0

    def cuCtxSetCurrent(self, context: Any) -> int:
        self.current = context.value == 0x1000
        return 0 if self.current else INVALID_CONTEXT

    def cuCtxSynchronize(self) -> int:
        return 0 if self.current else INVALID_CONTEXT

    def cuModuleLoadData(self, found: Any, text: Any) -> int:
        found._obj.value = 0x2000
        taken = any(f".target {target}\n".encode() in text.value for target in self.targets)
        return 0 if taken and self.current else INVALID_PTX

    def cuModuleGetFunction(self, found: Any, module: Any, name: Any) -> int:
        assert (module.value, name.value) == (0x2000, b"busy")
        found._obj.value = 0x3000
        return 0

    def cuMemAlloc_v2(self, found: Any, size: Any) -> int:
        assert size.value == 8
        found._obj.value = 0x7000
        return 0 if self.current else INVALID_CONTEXT

    def cuLaunchKernel(self, function: Any, *more: Any) -> int:
        *shape, _, _, words, extra = more
        assert (function.value, shape, extra) == (0x3000, [528, 1, 1, 256, 1, 1], None)
        place, turns = (ctypes.cast(word, ctypes.POINTER(ctypes.c_uint64)).contents.value for word in words)
        assert place == 0x7000
        self.value = chain(turns) + self.wrong
        return 0 if self.current else INVALID_CONTEXT

    def cuMemcpyDtoH_v2(self, found: Any, place: Any, size: Any) -> int:
        assert (place.value, size.value) == (0x7000, 8)
        found._obj.value = self.value
        return 0
