"""`wardround node ingest` as an errand: the same function, its progress told line by line."""

import json
import sys
from pathlib import Path

from audit.settings import read_settings
from deploy.errands import tell_progress
from deploy.exits import exit_code_of
from hospital_node.intake import take_in
from hospital_node.settings import NodeSettings


def main(config: Path) -> int:
    """Take the images of one hospital in; the exit code. Prints the report as JSON."""
    try:
        report = take_in(read_settings(config, NodeSettings), tell_progress)
    except Exception as error:
        code = exit_code_of(error)
        if code is None:
            raise
        print(error, file=sys.stderr)
        return code
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
