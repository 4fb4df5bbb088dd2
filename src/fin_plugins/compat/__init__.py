"""The only place that touches other projects' private names.

Private is a name with a leading underscore, a module that a project's documentation does not name, and a class patched,
or derived from in order to override a private method. There is one module (or package) per project, named after it.
Each says what it assumes and which versions it was tried with; `tests/compat` checks the assumptions, so that an
upgrade fails there first, in words. `tests/compat/test_boundary.py` keeps such names out of the rest of the package.
"""
