"""How fast hardware multiplies, by its class, where nothing was measured: stated, with the source and its date."""

from phi_runner import machine
from phi_runner.plan.bands import Band, Missing
from phi_runner.plan.place import Place

_UNIT = "FLOP/s"
_GIGA, _TERA = 1e9, 1e12
_GPUS = {
    "H100 NVL": (835, 60), "H100": (989, 67), "H200": (989, 67), "A100": (312, 19.5), "A10": (125, 31.2),
    "L40S": (362, 91.6), "L4": (121, 30.3), "T4": (65, 8.1), "V100": (125, 15.7), "A40": (150, 37.4),
    "RTX 4090": (165, 82.6), "RTX 3090": (71, 35.6),
}  # fmt: skip
"""Dense bf16 (fp16 where there is none) and fp32 TFLOP/s, by NVIDIA's data sheets as of 2025-06."""
_GPU_SHARE = 0.2, 0.4, 0.55
"""Of that peak in training: what reports of models of some billions of weights give (PaLM 46 %, Llama 3 38 to 43 %)."""
_CORE = {"bf16": (40, 110, 155), "wide": (18, 50, 75), "plain": (5, 22, 40)}
"""GFLOP/s of a processor's core in training: bf16 instructions, AVX-512, AVX2; models of 3 and 58 million weights on
two cores of an AMD EPYC (Zen 5) reached 84 to 150, 25 to 72 and, without AVX-512 and with neighbours, 8 to 35."""
_SHARED_CORE = 0.5
"""An Azure core is one of a core's two threads."""


def rate(place: Place) -> Band | Missing:
    """Return the operations a second of one process."""
    if place.cuda:
        return _gpu(place)
    kind = "bf16" if place.bf16 else "wide" if place.here and machine.here().avx512 else "plain"
    cores = place.cores * (1.0 if place.here else _SHARED_CORE) / place.processes
    low, likely, high = (value * cores * _GIGA for value in _CORE[kind])
    return Band(
        low=low, likely=likely, high=high, unit=_UNIT,
        source=f"operations, at {_CORE[kind][0]} to {_CORE[kind][2]} GFLOP/s a core (2026-11)",
    )  # fmt: skip


def _gpu(place: Place) -> Band | Missing:
    name = next((name for name in _GPUS if set(name.split()) <= set(place.gpu.replace("-", " ").split())), "")
    if not name:
        what = place.gpu or place.name
        return Missing(what=f"the time of training: nothing was measured on {what}, and its speed is in no table here")
    half, full = _GPUS[name]
    peak = (half if place.bf16 else full) * _TERA
    low, likely, high = (share * peak for share in _GPU_SHARE)
    return Band(
        low=low, likely=likely, high=high, unit=_UNIT,
        source=f"operations, at 20 to 55 % of the {peak / _TERA:g} TFLOP/s of an {name} (data sheet, 2025-06)",
    )  # fmt: skip
