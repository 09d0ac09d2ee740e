"""The CUDA driver's library and NVML by ctypes: what they say of the GPUs, and a kernel that keeps one busy.

    python cuda.py list
    python cuda.py busy SECONDS

Prints one JSON object. A program of its own, because a library that hangs or crashes must not take the check along; it
needs Python's standard library alone, and runs in a container as it is. It sets nothing: no clocks, no mode, no reset.
"""

from __future__ import annotations

import ctypes
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDERS = (
    "/usr/local/nvidia/lib64", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64",
    "/usr/lib/wsl/lib", "/run/opengl-driver/lib",
)  # fmt: skip
MULTIPROCESSORS = 16  # CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT. Source: cuda.h
THREADS = 256
MULTIPLIER, INCREMENT, WORD = 6364136223846793005, 1442695040888963407, 2**64
# Each thread computes the same chain of numbers and writes its end to the same place, so the answer is known.
PTX = """\
.version {version}
.target {target}
.address_size 64
.visible .entry busy(.param .u64 result, .param .u64 turns)
{{
    .reg .pred again;
    .reg .u64 left, value, place;
    ld.param.u64 left, [turns];
    ld.param.u64 place, [result];
    cvta.to.global.u64 place, place;
    mov.u64 value, 1;
TURN:
    mad.lo.u64 value, value, {multiplier}, {increment};
    sub.u64 left, left, 1;
    setp.ne.u64 again, left, 0;
    @again bra TURN;
    st.global.u64 [place], value;
    ret;
}}
"""
TARGETS = (("6.0", "sm_50"), ("7.0", "sm_80"), ("7.8", "sm_90"), ("8.7", "sm_100"))  # the first that the driver takes


class CudaError(Exception):
    """A call that did not succeed, by the library's own name for it."""


def library(name: str) -> Any:
    """A library of the driver's, wherever sites keep it; raises OSError."""
    last = OSError(f"{name} is not here")
    for path in [name, *(f"{folder}/{name}" for folder in FOLDERS), *map(str, Path("/usr/lib").glob(f"*/{name}"))]:
        try:
            return ctypes.CDLL(path)
        except OSError as error:
            if not str(error).startswith(path) or path == name:
                last = error
    raise last


class Cuda:
    """The few calls that are needed. Each raises CudaError."""

    def __init__(self, loaded: Any) -> None:
        self.loaded = loaded
        self.call("cuInit", 0)

    def call(self, function: str, *arguments: Any) -> None:
        """Call a function of the library."""
        code = getattr(self.loaded, function)(*arguments)
        if code:
            name = ctypes.c_char_p()
            self.loaded.cuGetErrorName(code, ctypes.byref(name))
            raise CudaError(f"{function}: {(name.value or b'').decode() or 'error'} ({code})")

    def number(self, function: str, *arguments: Any, kind: Any = ctypes.c_int) -> Any:
        """What a function writes to its first argument."""
        found = kind()
        self.call(function, ctypes.byref(found), *arguments)
        return found.value

    def describe(self, place: int) -> dict[str, Any]:
        """One device by its number."""
        device = self.number("cuDeviceGet", place)
        name, uuid, bus = ctypes.create_string_buffer(256), (ctypes.c_ubyte * 16)(), ctypes.create_string_buffer(64)
        self.call("cuDeviceGetName", name, 256, device)
        versioned = "cuDeviceGetUuid_v2" if hasattr(self.loaded, "cuDeviceGetUuid_v2") else "cuDeviceGetUuid"
        self.call(versioned, uuid, device)  # the second: of the slice, where the GPU is cut
        self.call("cuDeviceGetPCIBusId", bus, 64, device)
        return {
            "name": name.value.decode("utf-8", "replace"),
            "uuid": dashed(bytes(uuid)),
            "bus_id": bus.value.decode("ascii", "replace"),
            "memory_bytes": self.number("cuDeviceTotalMem_v2", device, kind=ctypes.c_size_t),
        }


def dashed(raw: bytes) -> str:
    """Sixteen bytes as nvidia-smi writes them, without `GPU-`."""
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def listed(cuda: Cuda) -> dict[str, Any]:
    """What the library says of itself and of every device."""
    count = cuda.number("cuDeviceGetCount")
    version = cuda.number("cuDriverGetVersion")
    described = [cuda.describe(place) for place in range(count)]
    return {"cuda": f"{version // 1000}.{version % 1000 // 10}", "count": count, "devices": described}


def chain(turns: int) -> int:
    """What the kernel computes in so many turns, in a number of steps that grows with its digits."""
    factor, offset, value_factor, value_offset = MULTIPLIER, INCREMENT, 1, 0
    while turns:
        if turns & 1:
            value_factor, value_offset = value_factor * factor % WORD, (value_offset * factor + offset) % WORD
        factor, offset = factor * factor % WORD, (offset * factor + offset) % WORD
        turns >>= 1
    return (value_factor + value_offset) % WORD


def busy(
    cuda: Cuda, seconds: float, energy: Callable[[str], dict[str, Any]], clock: Callable[[], float]
) -> dict[str, Any]:
    """Keep the first device busy with short launches; what was computed, and what it took."""
    device = cuda.number("cuDeviceGet", 0)
    uuid = cuda.describe(0)["uuid"]
    context = cuda.number("cuDevicePrimaryCtxRetain", device, kind=ctypes.c_void_p)
    try:
        cuda.call("cuCtxSetCurrent", ctypes.c_void_p(context))
        function, target = kernel(cuda)
        result = cuda.number("cuMemAlloc_v2", ctypes.c_size_t(8), kind=ctypes.c_uint64)
        blocks = 4 * cuda.number("cuDeviceGetAttribute", MULTIPROCESSORS, device)
        before, began, turns, launches, value = energy(uuid), clock(), 1 << 14, 0, 0
        while clock() - began < seconds:
            launched = clock()
            value = launch(cuda, function, blocks, result, turns)
            launches += 1
            if value != chain(turns):
                raise CudaError(f"the kernel computed {value} in {turns} turns, not {chain(turns)}")
            if (
                clock() - launched < 0.05 and turns < 1 << 40
            ):  # long enough to keep it busy, short enough to let others in
                turns *= 2
        after = energy(uuid)
    finally:
        cuda.call("cuDevicePrimaryCtxRelease_v2", device)
    took = {"seconds": round(clock() - began, 3), "launches": launches, "turns": turns, "target": target}
    return {"uuid": uuid, **took, "energy_before": before, "energy_after": after}


def kernel(cuda: Cuda) -> tuple[Any, str]:
    """The function, compiled by the driver, and for which kind of GPU it was written."""
    last = CudaError("no PTX")
    for version, target in TARGETS:
        text = PTX.format(version=version, target=target, multiplier=MULTIPLIER, increment=INCREMENT)
        try:
            module = cuda.number("cuModuleLoadData", ctypes.c_char_p(text.encode()), kind=ctypes.c_void_p)
        except CudaError as error:
            last = error
            continue
        named = ctypes.c_char_p(b"busy")
        found = cuda.number("cuModuleGetFunction", ctypes.c_void_p(module), named, kind=ctypes.c_void_p)
        return ctypes.c_void_p(found), target
    raise last


def launch(cuda: Cuda, function: Any, blocks: int, result: int, turns: int) -> int:
    """One launch, waited for; its number."""
    place, count, value = ctypes.c_uint64(result), ctypes.c_uint64(turns), ctypes.c_uint64()
    words = (ctypes.c_void_p * 2)(ctypes.addressof(place), ctypes.addressof(count))
    cuda.call("cuLaunchKernel", function, blocks, 1, 1, THREADS, 1, 1, 0, None, words, None)
    cuda.call("cuCtxSynchronize")
    cuda.call("cuMemcpyDtoH_v2", ctypes.byref(value), place, ctypes.c_size_t(8))
    return value.value


def energy(uuid: str) -> dict[str, Any]:
    """By NVML: the energy counter in mJ since the driver was loaded, and the power in mW; None where there is none."""
    found: dict[str, Any] = {"energy_mj": None, "power_mw": None, "why": ""}
    try:
        nvml = library("libnvidia-ml.so.1")
    except OSError as error:
        return {**found, "why": str(error)}
    device, millijoules, milliwatts = ctypes.c_void_p(), ctypes.c_ulonglong(), ctypes.c_uint()
    code = nvml.nvmlInit_v2() or nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}".encode(), ctypes.byref(device))
    if code:
        return {**found, "why": f"NVML: error {code}"}
    if code := nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(millijoules)):
        found["why"] = f"NVML has no energy counter for it: error {code}"
    else:
        found["energy_mj"] = millijoules.value
    if not nvml.nvmlDeviceGetPowerUsage(device, ctypes.byref(milliwatts)):
        found["power_mw"] = milliwatts.value
    nvml.nvmlShutdown()
    return found


def main(words: list[str]) -> int:
    """Look or work, print what was found; 0, or 1 with the reason."""
    try:
        cuda = Cuda(library("libcuda.so.1"))
        found = busy(cuda, float(words[1]), energy, time.monotonic) if words[0] == "busy" else listed(cuda)
    except (CudaError, OSError) as error:
        found = {"error": f"{error}"}
    print(json.dumps(found))
    return 1 if "error" in found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
