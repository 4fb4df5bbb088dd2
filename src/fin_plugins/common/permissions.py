"""File permissions as the user's umask has them, whatever library wrote the files."""

from pathlib import Path


def apply_umask(folder: Path) -> None:
    """Give each file of a folder the permissions of a new file there: safetensors makes files that only we can read.

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
