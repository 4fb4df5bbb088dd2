"""Who may read what is written: as the user's umask has it, whatever library wrote it."""

from pathlib import Path


def give_usual_mode(folder: Path) -> None:
    """Give each file of a folder the mode that a new file gets there: safetensors writes files that only we can read.

    Raises:
        OSError: the folder cannot be written.
    """
    new = folder / ".mode"
    new.touch()  # to ask the system: the umask itself can only be read by changing it
    mode = new.stat().st_mode & 0o777
    new.unlink()
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            file.chmod(mode)
