"""`python -m ggt_hub` is `ggt-hub`; launchers such as `accelerate launch -m ggt_hub train ...` need it."""

from ggt_hub.cli import main

if __name__ == "__main__":
    main()
