"""The student server: rendering, engines, adapters, valid tool calls."""
