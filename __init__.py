"""Tutelage: teaches a small model the repetitive part of your agents' work, and hands it over only on proof.

Importing the package pulls in nothing: the data plane must start fast and stay small.
"""

__version__ = "0.1.0"
