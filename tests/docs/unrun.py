"""What is not run of the documentation's blocks, and why not. It is parsed all the same."""

from __future__ import annotations

from tests.docs.blocks import Block

#: Beginnings of commands.
COMMANDS = {
    "git clone": "the place of the repository is a placeholder",
    "make ": "these are what CI runs, tests among them",
    "pip ": "installs or downloads packages",
    "export AWS_": "another server than that of the tests",
    ".venv/bin/python -m pytest": "tests within tests",
    "python -m benchmarks.": "takes an hour; tests/benchmarks/ runs them on little",
    "python examples/": "tests/examples/test_dog_breeds.py runs it",
    "raypipe submit": "needs a dashboard; tests/cluster/test_submit.py has one",
    "ray job submit": "needs a dashboard; tests/cluster/test_submit.py has one",
    "raypipe doctor": "measures for half a minute; tests/diagnosis/test_doctor.py has its options",
    "raypipe extract photos --out features --backbone hf/": (
        "downloads a network; tests/backbone/test_transformers.py takes one from a folder"
    ),
    "raypipe extract photos --out features --backbone open_clip/": (
        "downloads a network; tests/backbone/test_open_clip.py has files"
    ),
    "raypipe extract photos --out features --backbone keras/": (
        "takes a file of Keras's; tests/backbone/test_keras.py extracts with one"
    ),
    "raypipe run recipes/": "VGG16 takes its time; tests/recipes/test_recipes.py runs each of them",
}
#: Words of Python blocks.
PYTHON = {
    "from pyspark": "Spark is not among the packages of the tests",
    "from benchmarks import": "changes results that are kept",
}
#: Languages of blocks that hold nothing to run.
NOT_CODE = ("", "text", "{toctree}", "{eval-rst}")


def why_not(command: str) -> str | None:
    """Return the entry that a command falls under, if one."""
    return next((start for start in COMMANDS if f"{command} ".startswith(start)), None)


def why_not_python(block: Block) -> str | None:
    """Return the entry that a block of Python falls under, if one."""
    return next((words for words in PYTHON if words in block.text), None)
