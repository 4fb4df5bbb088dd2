"""`accelerate launch -m fin_plugins.training CONFIG`: the same as `fin train CONFIG`, in every process."""

from fin_plugins.training.command import main

if __name__ == "__main__":
    main()
