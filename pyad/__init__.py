"""pyad: deep-learning anomaly detection for Zeek."""

__version__ = "0.1.0"
