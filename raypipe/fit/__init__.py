"""Estimators and metrics; no Ray."""
