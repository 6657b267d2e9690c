"""relocatable.py BIN: let the commands in BIN find the Python beside them, also in a folder that was moved.

pip writes the absolute path into their first line, which a move breaks, as do some characters in a name.
"""

import re
import sys
from pathlib import Path

PIPS = re.compile(rb"""\A(#![^\n]*python[^\n]*\n|#!/bin/sh\n'''exec' [^\n]*\n' '''\n)""")
OURS = b"""#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/python "$0" "$@"
' '''
"""

for file in Path(sys.argv[1]).iterdir():
    if file.is_file() and not file.is_symlink():
        text = file.read_bytes()
        if PIPS.match(text):
            file.write_bytes(PIPS.sub(lambda head: OURS, text, count=1))
