"""The parts of :mod:`jaxsvd.commands.explain`, a file each."""
