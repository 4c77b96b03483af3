"""From a head's probabilities to the columns of predictions, files and scores; no Ray."""
