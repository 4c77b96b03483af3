"""Evaluation: rows held out, scores, calibration, near-duplicates."""
