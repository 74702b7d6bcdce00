#!/usr/bin/env bash
# SoftHSM forgets its tokens for good when the folder that holds them is away for a moment, as a volume is
# that is mounted again. Once a process has looked meanwhile, listing slots and signing fail also after the
# folder is back, with the files unchanged. Waiting and new sessions do not help. C_Finalize and
# C_Initialize do: the same process then finds the token and its key. A process that never looked while the
# folder was away notices nothing.
#
# Observed with SoftHSM 2.6.1 (Debian 12) and python-pkcs11 0.10.1:
#
#   in place: tokens found, signed
#   away: GeneralError, ObjectHandleInvalid
#   back: GeneralError, ObjectHandleInvalid
#   initialized anew: tokens found, signed
#
# Needs Debian 12 on x86-64 with apt-get, Python 3 with venv, and PyPI. Fails if one of these lines changes.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download -qq softhsm2=2.6.1-2.1 libsofthsm2=2.6.1-2.1
for package in ./*.deb; do dpkg -x "$package" system; done
python3 -m venv env
env/bin/pip install --quiet --disable-pip-version-check python-pkcs11==0.10.1

mkdir tokens
echo "directories.tokendir = $folder/tokens" > softhsm.conf
export SOFTHSM2_CONF=$folder/softhsm.conf
module=$(find "$folder/system" -name libsofthsm2.so -type f)
system/usr/bin/softhsm2-util --module "$module" --init-token --free --label example --so-pin 12345678 --pin 87654321 > util.log

cat > run.py <<'PY'
import os
import sys

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

library = pkcs11.lib(sys.argv[1])
named = {"token_label": "example"}


def attempt(work, done):
    try:
        work()
        return done
    except pkcs11.PKCS11Error as error:
        return type(error).__name__


def report(when, key):
    found = attempt(lambda: list(library.get_tokens()), "tokens found")
    signed = attempt(lambda: key.sign(bytes(32), mechanism=Mechanism.ECDSA), "signed")
    print(f"{when}: {found}, {signed}")


session = library.get_token(**named).open(user_pin="87654321", rw=True)
curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
curve = session.create_domain_parameters(KeyType.EC, curve, local=True)
_, key = curve.generate_keypair(store=True, id=b"1")
report("in place", key)
os.rename("tokens", "elsewhere")
report("away", key)
os.rename("elsewhere", "tokens")
report("back", key)
library.reinitialize()
session = library.get_token(**named).open(user_pin="87654321")
report("initialized anew", session.get_key(id=b"1", object_class=ObjectClass.PRIVATE_KEY))
PY
env/bin/python run.py "$module" | tee seen
diff seen - <<'SEEN'
in place: tokens found, signed
away: GeneralError, ObjectHandleInvalid
back: GeneralError, ObjectHandleInvalid
initialized anew: tokens found, signed
SEEN
