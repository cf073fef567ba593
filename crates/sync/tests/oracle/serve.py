"""The reference as a process: one scenario a line on standard input, its answer as one line on standard output."""

import json
import sys

from global_trust import answer

for line in sys.stdin:
    print(json.dumps(answer(json.loads(line)), separators=(",", ":")), flush=True)
