"""Learning-rate schedules as factors of the peak rate.

`progress` is the share of the run that is over: updates of a known total, or seconds of a budget. The warm-up
ends after `warmup` updates or a tenth of the run, whichever comes first.
"""

from __future__ import annotations

import math


def warmup_factor(step: int, warmup: int, progress: float) -> float:
    return 1.0 if warmup == 0 else min(1.0, max(step / warmup, progress / 0.1))


def learning_rate_factor(schedule: str, step: int, warmup: int, progress: float) -> float:
    """Factor for update `step`, counted from 1; progress 0 to 1.

    linear: falls to 0 at the end. cosine: half a cosine (Loshchilov and Hutter 2017). inverse_sqrt: rises for
    `warmup` updates, then sqrt(warmup / step) (Vaswani et al. 2017, equation 3). constant: stays.
    """
    if schedule == "inverse_sqrt":
        return min(step / max(warmup, 1), math.sqrt(max(warmup, 1) / step))
    rise = warmup_factor(step, warmup, progress)
    left = max(0.0, 1.0 - progress)
    if schedule == "linear":
        return min(rise, left)
    if schedule == "cosine":
        return rise * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return rise
