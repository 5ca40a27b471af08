"""Has OpenSSL read openssl.cnf, which it does once, when `cryptography` is first imported.

So each module that imports `cryptography` imports this one before.
"""

import os
from pathlib import Path

os.environ["OPENSSL_CONF"] = str(Path(__file__).with_name("openssl.cnf"))
