"""A parcel service's help desk: an agent with six tools, endless tasks, and the teacher it uses.

Everything is made by the project itself and runs without a key or a network. The teacher stands for a large model: a
deterministic server that reads the request alone, as a model would.
"""
