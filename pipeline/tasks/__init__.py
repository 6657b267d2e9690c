"""Tasks: read from files and data sets, or made by a source."""

from apportion.pipeline.tasks.reading.files import load_tasks
from apportion.pipeline.trajectory.task import Reject, Task, make_task

__all__ = ["Reject", "Task", "load_tasks", "make_task"]
