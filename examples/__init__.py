"""Runnable examples, the demo agent and its teacher among them."""
