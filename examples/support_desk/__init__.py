"""A web shop's support desk: an agent with ten tools on a real SQLite database, customers, and the teacher it uses.

    python -m tutelage.examples.support_desk

Runs take two to four calls, tools read and write the database, and whether a run went well is decided by what is in the
database afterwards. All of it is made by the project itself and runs without a key or a network.
"""
