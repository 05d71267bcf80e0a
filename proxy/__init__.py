"""The data plane (agents' port) and the control plane (ingest, shadow, gate, dashboard)."""
