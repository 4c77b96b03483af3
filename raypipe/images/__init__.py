"""Bytes to tensors: decoding, preprocessing, augmentation."""
