"""The Python API: functions with the options of commands, and the objects that they return."""
