"""Print pip constraints that pin each declared dependency to the lowest version it allows.

And Pydantic, which comes with them, to the lowest that pydantic-settings allows.
"""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
for requirement in [*project["dependencies"], *extras["example"], *extras["test"]]:
    name, bound = re.fullmatch(r"([\w-]+)(?:\[.*\])?>=([\w.]+)", requirement).groups()
    print(f"{name}=={bound}")
print("pydantic==2.7.0")
