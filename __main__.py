"""`python -m tutelage`: the same as the `tutelage` command."""

from .cli import main

if __name__ == "__main__":
    main()
