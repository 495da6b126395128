"""What the targets of each loss are, by its name in the library."""

SIDES = ("sigmoid_cross_entropy", "focal")  # 0 to 1 for each output
VALUES = ("mse", "huber", "mae", "pinball", "poisson")  # numbers for each output
NO_CLASSES = (*VALUES, "custom")  # no accuracy of rows
