"""Scale of the machinery itself: what planning, the flow and the store cost beside the images."""
