"""Training, evaluation and export of pyad's models (the `train` extra); the detector itself never imports this."""
