"""Fits by scikit-learn, on features in the driver's memory."""
