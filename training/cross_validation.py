"""Put the folds of a cross-validation together."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np

from training.calibration import LogitCounts, move_threshold
from training.metrics import RoadCounts

log = logging.getLogger('training')


def is_finished(out: Path) -> bool:
    """Whether the run in that folder has validated its last epoch."""
    file = out / 'validation.json'
    if not file.is_file():
        return False
    content = json.loads(file.read_text(encoding='utf-8'))
    return content['epoch'] == content['epochs']


def report(out: Path, folds: int) -> None:
    """Write cross_validation.json and print its main lines."""
    counts, logits = [], LogitCounts()
    for fold in range(folds):
        content = json.loads((out / f'fold{fold}' / 'validation.json').read_text(encoding='utf-8'))
        arrays = {
            name: {key: np.array(values) for key, values in content[name].items()}
            for name in ('confidence', 'log_odds')
        }
        counts.append(RoadCounts(**arrays['confidence']))
        logits += LogitCounts(**arrays['log_odds'])
    pooled = sum(counts, RoadCounts())
    threshold, temperature = pooled.scores()['threshold'], logits.temperature()
    of_folds = [one.scores(threshold) for one in counts]
    summary = {
        'folds': of_folds,
        'pooled': pooled.scores(),
        'mean': {name: float(np.mean([s[name] for s in of_folds])) for name in of_folds[0]},
        'standard_deviation': {
            name: float(np.std([s[name] for s in of_folds], ddof=1)) for name in of_folds[0]
        },
        'threshold': move_threshold(threshold, temperature),
        'temperature': temperature,
    }
    (out / 'cross_validation.json').write_text(json.dumps(summary, indent=2), encoding='utf-8')
    for name in ('max_f', 'iou'):
        log.info(
            '%s %.2f +- %.2f over %d folds',
            name,
            summary['mean'][name],
            summary['standard_deviation'][name],
            folds,
        )
    log.info('threshold %.3f, temperature %.3f', summary['threshold'], temperature)
