"""`accelerate launch -m fin_plugins.training CONFIG`: runs `fin train CONFIG` in each process."""

from fin_plugins.training.train_command import main

if __name__ == "__main__":
    main()
