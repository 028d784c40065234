"""A cohort out of a JSON file, which may be a whole plan.

The one rule: a file that is neither is refused, with what is wrong.
"""

import json
from pathlib import Path

from hospital_node.errors import ConfigurationError
from protocol.errors import ProtocolError
from protocol.plan import Cohort, Plan


def read_cohort(path: Path) -> Cohort:
    """The cohort in a file, or that of the plan in it.

    Raises:
        ConfigurationError: the file cannot be read, or holds neither.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "cohort" in content:
            return Plan.from_json(content).cohort
        return Cohort.from_json(content)
    except OSError as cause:
        raise ConfigurationError(f"{path}: {cause.strerror}") from cause
    except (ValueError, ProtocolError) as cause:
        raise ConfigurationError(f"{path} holds no cohort and no plan: {cause}") from cause
