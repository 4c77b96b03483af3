"""What a pool of replicas holds: plain classes, usable without Ray."""
