"""The multilayer perceptron: network, batches, search."""
