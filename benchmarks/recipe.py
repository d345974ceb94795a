"""The optimiser that both sides of a comparison train with. Knows neither JAX nor PyTorch."""

LEARNING_RATE, WEIGHT_DECAY = 1e-3, 5e-4
OPTIMIZER = {
    "optimizer": "adam",
    "learning_rate": LEARNING_RATE,
    "weight_decay": WEIGHT_DECAY,
    "epochs": 1,
    "schedule": {"name": "constant"},
}
