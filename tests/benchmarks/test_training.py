"""What a step of patient-level DP-SGD costs on cached features, and what the accountant does."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from bars import record

from hospital_node.training.accountant import calibrate

HERE = Path(__file__).parent
PATIENTS = 2000
STEPS = 300
BAR = 1.3


def test_a_step_on_cached_features() -> None:
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    paths = os.pathsep.join((str(HERE.parent), str(HERE.parent.parent)))
    done = subprocess.run(
        [sys.executable, str(HERE / "run_cached_step.py"), str(PATIENTS), str(STEPS)],
        env={**os.environ, **one, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    taken = json.loads(done.stdout)
    private_s, plain_s = taken["private"], taken["plain"]
    assert len(private_s) == len(plain_s) == STEPS
    # Medians: how many patients a step draws is by chance, and the least of many drew few.
    ratio = median(private_s) / median(plain_s)
    record(
        f"cached features, {PATIENTS // 4} patients a step: private ÷ without privacy",
        f"{ratio:.2f} x, {1000 * median(private_s):.1f} ms",
        bar=f"<= {BAR} x",
        is_met=ratio <= BAR,
    )


def test_a_calibration() -> None:
    start = time.perf_counter()
    noise_multiplier = calibrate(3.0, 1e-5, sample_rate=0.24, steps=100)
    calibrated_s = time.perf_counter() - start
    assert noise_multiplier > 0
    record("calibration of the noise for epsilon 3", f"{1000 * calibrated_s:.0f} ms")
