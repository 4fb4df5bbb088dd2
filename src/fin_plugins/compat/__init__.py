"""The only place that touches other projects' private names.

Private means: a name with a leading underscore, a module that the project does not document, or a class that is patched
or subclassed to override a private method. There is one module or package per project, named after it. Each states
what it assumes and which versions it was tested with. `tests/compat` checks the assumptions, so that an upgrade fails
there first, with a message that names the assumption. `tests/compat/test_boundary.py` keeps private names out of the
rest of the package.
"""
