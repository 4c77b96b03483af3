"""Training of a perceptron with Ray Train, in several processes."""

from raypipe.training.ray_train.run import scaling_config, train_in_workers

__all__ = ["scaling_config", "train_in_workers"]
